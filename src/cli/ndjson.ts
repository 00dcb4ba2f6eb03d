import { BYTES_TYPE } from "../codec/content-type.ts";
import { SyncError } from "../error.ts";
import { LINE_BYTES_MAX, rawToJson } from "../node/lines.ts";
import type { Item, Raw } from "../node/lines.ts";
import type { FoundStream, ListedEntry } from "../sync.ts";
import { jsonLine } from "./lines.ts";

/** An entry whose value is read as it is sent, perhaps several times. */
export interface LargeItem extends Pick<Item, "key" | "expires" | "meta"> {
  readonly type: string | undefined;
  /** Of the value, in bytes. */
  readonly size: number;
  open(): AsyncIterable<Uint8Array>;
}

/** What a line takes beside its value: a key and metadata, at most. */
const LINE_BYTES_BESIDE = 1024 ** 2;

/** An entry as a line, as docs/cli.md describes it. */
export function lineOf({ key, value, version, expires, meta }: ListedEntry<Raw>): string {
  const { "content-type": _type, ...own } = meta;
  const metadata = Object.keys(own).length === 0 ? {} : { meta: own };
  return jsonLine({ key, ...rawToJson(value), version, ...(expires === null ? {} : { expires }), ...metadata });
}

/** The same of a value that is read as the line is written, as base64. @throws SyncError TOO_LARGE above the longest line. */
export async function* linePieces(key: string, { stream, size, version, expires, meta }: FoundStream) {
  if (size > LINE_BYTES_MAX * (3 / 4) - LINE_BYTES_BESIDE) {
    const cure = "export to a folder, or this key by microsync get -o";
    throw new SyncError("TOO_LARGE", `the value has ${size} bytes, more than a line takes`, { key, cure });
  }
  const { "content-type": type, ...own } = meta;
  yield `${JSON.stringify({ key }).slice(0, -1)},"base64":"`;
  let held = Buffer.alloc(0);
  for await (const piece of stream) {
    const bytes = held.length === 0 ? piece : Buffer.concat([held, piece]);
    const whole = bytes.length - (bytes.length % 3);
    yield Buffer.from(bytes.buffer, bytes.byteOffset, whole).toString("base64");
    held = Buffer.from(bytes.subarray(whole));
  }
  const named = type === undefined || type === BYTES_TYPE ? {} : { type };
  const metadata = Object.keys(own).length === 0 ? {} : { meta: own };
  const rest = { ...named, version, ...(expires === null ? {} : { expires }), ...metadata };
  yield `${held.toString("base64")}",${jsonLine(rest).slice(1)}`;
}
