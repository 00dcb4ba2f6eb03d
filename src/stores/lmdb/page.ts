import type { Range } from "../../store.ts";
import type { Tables } from "./environment.ts";
import type { Row } from "./staged.ts";

const utf8 = new TextEncoder();

/** Rows of the range after a key, in order. */
export function pageOf({ entries }: Tables, { prefix }: Range, after: string | undefined, limit: number): Row[] {
  const begin = utf8.encode(prefix);
  let start = begin.length === 0 ? undefined : begin;
  if (after !== undefined) {
    const next = new Uint8Array([...utf8.encode(after), 0]); // the least key that is greater
    if (start === undefined || Buffer.compare(next, start) > 0) start = next;
  }
  const page = entries.page(start, limit);
  const end = page.findIndex(({ key }) => Buffer.compare(key.subarray(0, begin.length), begin) !== 0);
  return end === -1 ? page : page.slice(0, end);
}
