import type { Spot } from "./dialect.ts";

/**
 * A watch's cursor. `told`: everything up to the position was told. `initial`: the keys up to one, as of a position.
 * `page`: everything up to `from`, and of what came until `to` the changes up to a spot.
 */
export type Cursor =
  | { readonly kind: "told"; readonly epoch: string; readonly from: string }
  | { readonly kind: "initial"; readonly epoch: string; readonly from: string; readonly key: string }
  | {
      readonly kind: "page";
      readonly epoch: string;
      readonly from: string;
      readonly to: string;
      readonly spot: Spot;
    };

/** A snapshot lists the transactions under way, of which a server has some thousands at most. */
const LENGTH_MAX = 256 * 1024;

export function formatCursor(cursor: Cursor): string {
  const { epoch, from } = cursor;
  if (cursor.kind === "told") return `${epoch}~t~${from}`;
  if (cursor.kind === "initial") return `${epoch}~i~${from}~${cursor.key}`;
  return `${epoch}~p~${from}~${cursor.to}~${cursor.spot.mark}~${cursor.spot.key}`;
}

/** Undefined when the text is no cursor of this store. */
export function parseCursor(text: string, isPosition: (text: string) => boolean): Cursor | undefined {
  if (text.length > LENGTH_MAX) return undefined;
  const [epoch = "", kind = "", from = "", ...rest] = text.split("~");
  if (epoch === "" || !isPosition(from)) return undefined;
  if (kind === "t" && rest.length === 0) return { kind: "told", epoch, from };
  if (kind === "i" && rest.length > 0) return { kind: "initial", epoch, from, key: rest.join("~") };
  const [to = "", mark = "", ...key] = rest;
  if (kind !== "p" || key.length === 0 || !isPosition(to) || !/^[0-9.]{1,40}$/.test(mark)) return undefined;
  return { kind: "page", epoch, from, to, spot: { mark, key: key.join("~") } };
}
