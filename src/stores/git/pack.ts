import { createHash, hash } from "node:crypto";
import { promisify } from "node:util";
import { deflate, deflateSync } from "node:zlib";
import type { Git } from "./command.ts";
import { gitError } from "./command.ts";
import { feed } from "./feed.ts";
import { SyncError } from "../../error.ts";

/** Source: gitformat-pack(5), version 2, without deltas. */
const TYPES = { commit: 1, tree: 2, blob: 3 } as const;
const VERSION = 2;
/** Up to here a blob stays as it is: a record hardly gets smaller, and compressing it costs more than all else. */
const STORED_BLOB_BYTES_MAX = 256;
/** So does a tree: most of it are ids. When git packs anew it keeps only what differs from tree to tree. */
const STORED_TREE_BYTES_MAX = 32 * 1024;
/** Above, compressing goes to another thread. */
const AT_ONCE_BYTES_MAX = 64 * 1024;
/** For so many bytes zlib needs no more memory than this; by default it takes and clears 256 KiB each time. */
const SMALL_BYTES_MAX = 4 * 1024;
const SMALL = { windowBits: 12, memLevel: 4 };

const deflated = promisify<Uint8Array, Uint8Array>(deflate);

export interface NewObject {
  readonly id: string;
  readonly type: keyof typeof TYPES;
  readonly bytes: Uint8Array;
}

export function newObject(type: NewObject["type"], bytes: Uint8Array, algorithm: "sha1" | "sha256"): NewObject {
  const id = hash(algorithm, Buffer.concat([Buffer.from(`${type} ${bytes.length}\0`), bytes]), "hex");
  return { id, type, bytes };
}

/** An object as it stands in a pack. */
export async function packed({ type, bytes }: NewObject): Promise<Buffer> {
  const header: number[] = [];
  let size = bytes.length;
  let byte = (TYPES[type] << 4) | (size & 15);
  for (size = Math.floor(size / 16); size > 0; size = Math.floor(size / 128)) {
    header.push(byte | 128);
    byte = size & 127;
  }
  header.push(byte);
  return Buffer.concat([Buffer.from(header), await compressed(type, bytes)]);
}

function compressed(type: NewObject["type"], bytes: Uint8Array): Uint8Array | Promise<Uint8Array> {
  if (bytes.length <= (type === "tree" ? STORED_TREE_BYTES_MAX : STORED_BLOB_BYTES_MAX)) return stored(bytes);
  if (bytes.length > AT_ONCE_BYTES_MAX) return deflated(bytes);
  return deflateSync(bytes, { ...(bytes.length <= SMALL_BYTES_MAX ? SMALL : {}), chunkSize: bytes.length + 64 }); // what does not get smaller fits too
}

/** Source: RFC 1950 and 1951, one block without compression. */
function stored(bytes: Uint8Array): Uint8Array {
  const all = Buffer.allocUnsafe(bytes.length + 11);
  all.writeUInt16BE(0x7801, 0);
  all.writeUInt8(1, 2);
  all.writeUInt16LE(bytes.length, 3);
  all.writeUInt16LE(0xff_ff - bytes.length, 5);
  all.set(bytes, 7);
  all.writeUInt32BE(adler32(bytes), bytes.length + 7);
  return all;
}

const ADLER = 65_521;

/** Of at most 64 KiB, for which no sum leaves the whole numbers. */
function adler32(bytes: Uint8Array): number {
  let a = 1;
  let b = 0;
  for (let i = 0; i < bytes.length; i++) {
    a += bytes[i] ?? 0;
    b += a;
  }
  return (b % ADLER) * 2 ** 16 + (a % ADLER);
}

/** Gives git a pack of so many objects, none of them twice. When this is over they are on disk, and can be read. */
export async function addPack(
  git: Git,
  algorithm: "sha1" | "sha256",
  count: number,
  entries: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): Promise<void> {
  const { child, stderr } = git.start(["index-pack", "--stdin"]);
  child.stdout?.resume();
  const ended = new Promise<number>((resolve, reject) => {
    child.on("error", (error) => reject(new SyncError("NOT_FOUND", "git could not be started", { cause: error })));
    child.on("close", (code) => resolve(code ?? -1));
  });
  ended.catch(() => {}); // told below
  const sum = createHash(algorithm);
  const into = feed(child);
  const header = Buffer.from("PACK\0\0\0\0\0\0\0\0", "latin1");
  header.writeUInt32BE(VERSION, 4);
  header.writeUInt32BE(count, 8);
  sum.update(header);
  try {
    await into.write(header);
    for await (const entry of entries) {
      sum.update(entry);
      await into.write(entry);
    }
    await into.write(sum.digest());
    await into.flush();
  } catch (error) {
    child.kill();
    await ended;
    throw error;
  }
  child.stdin?.end();
  if ((await ended) !== 0) throw gitError("index-pack", stderr());
}
