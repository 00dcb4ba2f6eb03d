import { createReadStream } from "node:fs";
import { open as openFile, readdir, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { NO_META } from "../entry.ts";
import { SyncError } from "../error.ts";
import { hasCode } from "../config/folders.ts";
import { keyOfPath } from "../stores/git-layout/path.ts";
import { metaOfKey } from "../stores/git-layout/kind.ts";
import { failures } from "./failures.ts";
import type { Failures } from "./failures.ts";
import type { Io } from "./io.ts";
import { jsonLine } from "./lines.ts";
import { LINE_BYTES_MAX, itemOf, linesOf } from "../node/lines.ts";
import type { Item } from "../node/lines.ts";
import type { LargeItem } from "./ndjson.ts";
import { bytesText, countText, progress } from "./progress.ts";
import { send, sendLarge } from "./send.ts";
import type { Session } from "./session.ts";
import { input } from "./stdin.ts";

/** A batch is sent when it holds so many bytes of values, or so many keys. A value of as many bytes goes by itself. */
const BATCH_BYTES_MAX = 16 * 1024 ** 2;
const BATCH_KEYS_MAX = 2_000;
const PIECE_BYTES = 64 * 1024;

/** Files of a folder, or lines of a file, as keys. What fails is told and does not stop the rest. */
export async function run(
  { io, json, call, open }: Session,
  [from = "", prefix = ""]: readonly string[],
  flags: { readonly ack?: string },
): Promise<number> {
  const shown = progress(io);
  const failed = failures(io, json, shown);
  const items = await itemsFrom(io, from, failed);
  const { db } = await open();
  let keys = 0;
  let bytes = 0;
  for await (const batch of batches(items)) {
    const sending = { db, prefix, failed, runtime: io.runtime, options: { ...call, ack: flags.ack } };
    const written = "open" in batch ? await sendLarge(sending, batch) : await send(sending, batch);
    keys += written.length;
    for (const item of written) bytes += "open" in item ? item.size : item.raw.bytes.length;
    shown.tell(() => `importing: ${countText(keys, "key")}, ${bytesText(bytes)}`);
    if (io.signal.aborted) throw new SyncError("ABORTED", `interrupted after ${countText(keys, "key")}`);
  }
  await shown.clear();
  const status = await failed.end();
  if (json) await io.stdout.write(jsonLine({ imported: keys, bytes, failed: failed.count }));
  else await io.stderr.write(`imported ${countText(keys, "key")}, ${bytesText(bytes)}${summary(failed.count)}\n`);
  return status;
}

function summary(failed: number): string {
  return failed === 0 ? "" : `; ${failed} failed`;
}

async function* batches(items: AsyncIterable<Item | LargeItem>): AsyncGenerator<readonly Item[] | LargeItem, void> {
  let batch: Item[] = [];
  let bytes = 0;
  for await (const item of items) {
    if ("open" in item) {
      yield item;
      continue;
    }
    batch.push(item);
    bytes += item.raw.bytes.length + item.key.length;
    if (bytes < BATCH_BYTES_MAX && batch.length < BATCH_KEYS_MAX) continue;
    yield batch;
    batch = [];
    bytes = 0;
  }
  if (batch.length > 0) yield batch;
}

/** What is to be imported; its existence is checked before the chain is opened. */
async function itemsFrom(io: Io, from: string, failed: Failures): Promise<AsyncIterable<Item | LargeItem>> {
  if (from === "-") return itemsOfLines(input(io), failed);
  const path = resolve(io.folder, from);
  try {
    const found = await stat(path);
    if (found.isDirectory()) return itemsOfFolder(path, failed);
    await (await openFile(path, "r")).close();
  } catch (cause) {
    const missing = hasCode(cause, "ENOENT", "ENOTDIR");
    throw new SyncError(missing ? "NOT_FOUND" : "UNAVAILABLE", `${from} cannot be read`, {
      operation: "import",
      cure: missing ? "name a folder, a file of lines, or - for standard input" : "make it readable",
      retryable: false,
      cause,
    });
  }
  return itemsOfLines(createReadStream(path), failed);
}

type Items = AsyncGenerator<Item | LargeItem, void>;

async function* itemsOfLines(chunks: AsyncIterable<Uint8Array>, failed: Failures): Items {
  for await (const { number, bytes } of linesOf(chunks)) {
    let item: Item;
    try {
      if (bytes === undefined) throw new SyncError("TOO_LARGE", `the line is above ${LINE_BYTES_MAX} bytes`);
      item = itemOf(bytes);
    } catch (error) {
      await failed.add(`line ${number}`, error);
      continue;
    }
    const { key, raw, expires, meta } = item;
    if (raw.bytes.length < BATCH_BYTES_MAX) yield item;
    else yield { key, expires, meta, type: raw.type, size: raw.bytes.length, open: () => inPieces(raw.bytes) };
  }
}

/** The folders that hold what git and Sync know of the files, not files of their own. */
const SKIPPED = new Set([".git", ".microsync"]);

async function* inPieces(bytes: Uint8Array): AsyncGenerator<Uint8Array, void> {
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) yield bytes.subarray(at, at + PIECE_BYTES);
}

async function* itemsOfFolder(folder: string, failed: Failures, below = ""): Items {
  const names = await readdir(join(folder, below), { withFileTypes: true });
  for (const entry of names.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = below === "" ? entry.name : `${below}/${entry.name}`;
    if (entry.isDirectory()) {
      if (!SKIPPED.has(entry.name.toLowerCase())) yield* itemsOfFolder(folder, failed, path);
      continue;
    }
    let item: Item | LargeItem;
    try {
      item = await itemOfFile(folder, path, entry.isFile());
    } catch (error) {
      await failed.add(path, error);
      continue;
    }
    yield item;
  }
}

async function itemOfFile(folder: string, path: string, isFile: boolean): Promise<Item | LargeItem> {
  if (!isFile) {
    throw new SyncError("UNSUPPORTED", "it is not a file", { cure: "links, pipes and devices are left out" });
  }
  const key = keyOfPath(path);
  if (key === undefined) {
    throw new SyncError("INVALID", "no key has this file's name", { cure: "rename the file" });
  }
  const file = await openFile(join(folder, path), "r");
  try {
    const { size } = await file.stat();
    const type = metaOfKey(key)["content-type"];
    const item = { key, expires: null, meta: NO_META };
    if (size < BATCH_BYTES_MAX) return { ...item, raw: { bytes: await file.readFile(), type } };
    const open = () => createReadStream(join(folder, path), { highWaterMark: PIECE_BYTES });
    return { ...item, type, size, open };
  } finally {
    await file.close();
  }
}
