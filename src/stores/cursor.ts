/**
 * How the stores that number their changes write a watch's cursor: `epoch.change`, and while the initial state is
 * being told `epoch.change.key`, which means everything up to that key as of that change.
 */
export interface Place {
  /** Of the store's history; a cursor of another epoch means nothing. */
  readonly epoch: string;
  /** The last change that was told. */
  readonly change: number;
  /** The last key of the initial state that was told; undefined when all of it was. */
  readonly initialKey: string | undefined;
}

export function formatCursor({ epoch, change, initialKey }: Place): string {
  return initialKey === undefined ? `${epoch}.${change}` : `${epoch}.${change}.${initialKey}`;
}

/** Undefined when the text is not a cursor of this form. */
export function parseCursor(cursor: string): Place | undefined {
  const match = /^([0-9a-z]+)\.(0|[1-9][0-9]{0,15})(?:\.(.+))?$/su.exec(cursor);
  if (match === null) return undefined;
  const [, epoch = "", change, initialKey] = match;
  return { epoch, change: Number(change), initialKey };
}
