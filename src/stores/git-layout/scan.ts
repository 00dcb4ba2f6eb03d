import type { History, Touch } from "./history.ts";
import { isSidePath, keyOfPath, placesOfKey } from "./path.ts";
import { WATERMARK_PATH, nameOfRecordPath, recordName } from "./record.ts";
import type { PathChange, Repository, Step } from "./repository.ts";

/** A key that a person's commit was the last to touch, so that its file may say other than its record. */
export interface Candidate {
  /** The name of its record. */
  readonly name: string;
  /** Undefined when only the record was touched: the record says which key it is. */
  key: string | undefined;
  /** Object ids of every version of the record that those commits found or left: none may be gone below. */
  readonly records: Set<string>;
  /** Sync had removed it for good before. */
  wasForgotten: boolean;
  /** The commit of the last touch; makes a provisional version the same for everybody. */
  readonly node: string;
}

export interface Scanned {
  /** False: the commit does not stand on the first-parent line that ends there. The branch was rewritten. */
  readonly onLine: boolean;
  readonly candidates: readonly Candidate[];
  /** Object ids of watermarks that persons' commits found or left. */
  readonly watermarks: ReadonlySet<string>;
  /** Makes `history` speak of the new commit, except for its `commit` and `length`. Does not wait for anything. */
  apply(history: History): void;
  /** Of the first-parent line. */
  readonly length: number;
}

export interface ScanOptions {
  readonly repository: Repository;
  readonly prefix: string;
  /** Where to begin; only `commit` and `length` are looked at. */
  readonly from: Pick<History, "commit" | "length">;
  readonly to: string;
  /** Told a path that belongs to no key. */
  readonly onBadPath: (path: string) => void;
}

/** Reads the log between two commits, the newest first: the first touch of a key that is met is its last one. */
export async function scan({ repository, prefix, from, to, onBadPath }: ScanOptions): Promise<Scanned> {
  const lasts = new Map<string, Last>();
  const others = new Map<string, boolean>();
  const watermarks = new Set<string>();
  const numbered: { position: number }[] = [];
  let steps = 0;
  let end: string | null = null;
  for await (const step of repository.passage({ from: from.commit, to, prefix, onBadPath })) {
    take(step, steps++, { lasts, others, watermarks, numbered, onBadPath });
    end = step.parent;
  }
  const onLine = end === from.commit && (steps > 0 || from.commit === to);
  const length = from.length + steps;
  for (const touch of numbered) touch.position = length - touch.position;

  const candidates = [...lasts.values()].flatMap((last) => (last.candidate === undefined ? [] : [last.candidate]));
  return {
    onLine,
    candidates,
    watermarks,
    length,
    apply(history) {
      for (const [path, isOther] of others) {
        if (isOther) history.others.add(path);
        else history.others.delete(path);
      }
      for (const [name, { key, touch, forgotten }] of lasts) {
        if (forgotten) history.forgotten.add(name);
        else if (touch === undefined) history.forgotten.delete(name);
        if (key === undefined) continue;
        if (touch === undefined) history.touches.delete(key);
        else history.touches.set(key, touch);
      }
    },
  };
}

/** The last thing that happened to a key in the commits read. */
interface Last {
  key: string | undefined;
  /** Undefined when Sync did it: then there is a record, or `forgotten`. */
  readonly touch: Touch | undefined;
  readonly forgotten: boolean;
  readonly candidate: Candidate | undefined;
  /** Still looking for what Sync left before the persons' commits. */
  open: boolean;
}

interface Taking {
  readonly lasts: Map<string, Last>;
  readonly others: Map<string, boolean>;
  readonly watermarks: Set<string>;
  readonly numbered: { position: number }[];
  readonly onBadPath: (path: string) => void;
}

/** What one commit did to one key. */
interface Deed {
  key: string | undefined;
  present: boolean;
  fileTouched: boolean;
  recordAlive: boolean;
  readonly records: string[];
}

function take(step: Step, index: number, { lasts, others, watermarks, numbered, onBadPath }: Taking): void {
  const node = step.commit.slice(0, 16);
  // Positions are known when all commits were counted; until then they are numbers from the newest backwards.
  const touchOf = (state: Touch["state"]) => {
    const touch = { position: index, node, state };
    numbered.push(touch);
    return touch;
  };
  let present: Touch | undefined;
  let deleted: Touch | undefined;
  for (const [name, deed] of deedsOf(step, { others, watermarks, onBadPath })) {
    const last = lasts.get(name);
    if (last !== undefined) {
      last.key ??= deed.key;
      if (last.candidate !== undefined && last.open) lookBack(last.candidate, deed, step.bySync);
      if (step.bySync) last.open = false;
      continue;
    }
    if (step.bySync) {
      const forgotten = !deed.recordAlive && !deed.present;
      lasts.set(name, { key: deed.key, touch: undefined, forgotten, candidate: undefined, open: false });
      continue;
    }
    let touch: Touch | undefined;
    if (deed.fileTouched) touch = deed.present ? (present ??= touchOf("present")) : (deleted ??= touchOf("deleted"));
    const candidate: Candidate = { name, key: deed.key, records: new Set(deed.records), wasForgotten: false, node };
    lasts.set(name, { key: deed.key, touch, forgotten: false, candidate, open: true });
  }
}

function lookBack(candidate: Candidate, deed: Deed, bySync: boolean): void {
  candidate.key ??= deed.key;
  for (const id of deed.records) candidate.records.add(id);
  if (bySync && !deed.recordAlive && !deed.present) candidate.wasForgotten = true;
}

type Found = Pick<Taking, "others" | "watermarks" | "onBadPath">;

function deedsOf(step: Step, { others, watermarks, onBadPath }: Found): Map<string, Deed> {
  const deeds = new Map<string, Deed>();
  const deedOf = (name: string): Deed => {
    let deed = deeds.get(name);
    if (deed === undefined) {
      deed = { key: undefined, present: false, fileTouched: false, recordAlive: false, records: [] };
      deeds.set(name, deed);
    }
    return deed;
  };
  for (const change of step.changes) {
    if (isSidePath(change.path)) {
      takeRecord(change, step.bySync, deedOf, watermarks);
      continue;
    }
    if ((change.oldOther || change.newOther) && !others.has(change.path)) others.set(change.path, change.newOther);
    if (change.oldId === null && change.newId === null) continue;
    const key = keyOfPath(change.path);
    if (key === undefined) {
      onBadPath(change.path);
      continue;
    }
    const deed = deedOf(recordName(key));
    deed.key = key;
    deed.fileTouched = true;
    if (change.newId !== null) deed.present = true;
  }
  return deeds;
}

function takeRecord(
  { path, oldId, newId }: PathChange,
  bySync: boolean,
  deedOf: (name: string) => Deed,
  watermarks: Set<string>,
): void {
  if (path === WATERMARK_PATH && !bySync) {
    for (const id of [oldId, newId]) if (id !== null) watermarks.add(id);
    return;
  }
  const name = nameOfRecordPath(path);
  if (name === undefined) return;
  const deed = deedOf(name);
  if (newId !== null) deed.recordAlive = true;
  for (const id of [oldId, newId]) if (id !== null) deed.records.push(id);
}

/** Whether a file of this key may stand at a place that the last touch does not speak of. */
export function hasLiteralPlace(key: string): boolean {
  return placesOfKey(key).length > 2;
}
