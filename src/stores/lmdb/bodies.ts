import { createHash } from "node:crypto";
import { mkdir, open, readdir, rename, rm } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { boundsOf, isPart, wrongBytes } from "../../body.ts";
import type { Body } from "../../body.ts";
import { crc32c } from "../../checksum.ts";
import { SyncError } from "../../error.ts";
import type { Runtime } from "../../runtime.ts";
import { checkCall } from "../../store.ts";
import type { CallOptions } from "../../store.ts";
import { isVersion } from "../../version.ts";
import type { Version } from "../../version.ts";
import { lmdbFailure } from "./failures.ts";

/**
 * Values that came as streams, each in a file of its own beside the database, because LMDB takes a value whole. A row of
 * `entries` has a stub for it, so that an older version of this software sees what it can understand: a newer version
 * exists. The row of `bodies` under the same key says which file has its bytes.
 *
 * A file is whole and on disk, under its name, before a transaction names it, and goes after the transaction that names
 * it no more. What a crash leaves between the two is in no row: it is removed when the folder is opened next, unless the
 * process that its name tells of lives.
 */
export interface BodyRow {
  readonly version: Version;
  readonly size: number;
  readonly sha256: string;
  readonly file: string;
}

const FOLDER = "bodies";
const ROW = /^1 (\S{34}) (\d{1,16}) ([0-9a-f]{64}) (\d+-[0-9a-f]{24}) ([0-9a-f]{8})$/;
const FILE = /^(\d+)-[0-9a-f]{24}(\.part)?$/;
const READ_BYTES = 64 * 1024;
/** Files that this process made. One of its id that is not among them is of an earlier process with the same id. */
const made = new Set<string>();

export function encodeBodyRow(key: string, { version, size, sha256, file }: BodyRow): Uint8Array {
  const text = `1 ${version} ${size} ${sha256} ${file}`;
  return new TextEncoder().encode(`${text} ${checksumOf(key, text)}`);
}

/** How many bytes a row tells of; undefined for a damaged row. */
export function sizeOf(row: Uint8Array): number | undefined {
  const size = ROW.exec(new TextDecoder().decode(row))?.[2];
  return size === undefined ? undefined : Number(size);
}

/** The file that a row names; undefined for a damaged row. */
export function fileOf(row: Uint8Array): string | undefined {
  return ROW.exec(new TextDecoder().decode(row))?.[4];
}

/** @throws SyncError CORRUPT */
export function decodeBodyRow(key: string, row: Uint8Array, store: string): BodyRow {
  const text = new TextDecoder().decode(row);
  const [, version = "", size = "", sha256 = "", file = "", sum = ""] = ROW.exec(text) ?? [];
  if (!isVersion(version) || sum !== checksumOf(key, text.slice(0, -9))) throw wrongBytes({ store, key });
  return { version, size: Number(size), sha256, file };
}

function checksumOf(key: string, text: string): string {
  return (crc32c(new TextEncoder().encode(`${key}\0${text}`)) >>> 0).toString(16).padStart(8, "0");
}

export class BodyFiles {
  private readonly folder: string;
  private readonly runtime: Runtime;
  private readonly store: string;

  constructor(folder: string, runtime: Runtime, store: string) {
    this.folder = join(folder, FOLDER);
    this.runtime = runtime;
    this.store = store;
  }

  /** Resolves when all of the body is on disk. @throws SyncError what reading it throws; CORRUPT when it is another one. */
  async keep(key: string, version: Version, body: Body, options: CallOptions): Promise<BodyRow> {
    const chance = Buffer.from(this.runtime.random(new Uint8Array(12))).toString("hex");
    const file = `${process.pid}-${chance}`;
    const path = join(this.folder, file);
    made.add(file);
    try {
      await mkdir(this.folder, { recursive: true });
      const sha256 = await this.fill(`${path}.part`, key, body, options);
      await rename(`${path}.part`, path);
      await syncFolder(this.folder);
      return { version, size: body.size, sha256, file };
    } catch (error) {
      made.delete(file);
      await rm(`${path}.part`, { force: true });
      throw lmdbFailure(error, { store: this.store, operation: "write", key });
    }
  }

  private async fill(path: string, key: string, body: Body, options: CallOptions): Promise<string> {
    const hash = createHash("sha256");
    const handle = await open(path, "wx", 0o600);
    try {
      let bytes = 0;
      for await (const piece of body.content(undefined, options)) {
        checkCall(this.runtime, options, this.store, "write");
        bytes += piece.length;
        if (bytes > body.size) break;
        hash.update(piece);
        await writeAll(handle, piece);
      }
      const sha256 = hash.digest("hex");
      if (bytes !== body.size || (body.sha256 ?? sha256) !== sha256) throw wrongBytes({ store: this.store, key });
      await handle.sync();
      return sha256;
    } finally {
      await handle.close();
    }
  }

  /** The body of a row. It can be read to its end also when the row is replaced meanwhile. */
  bodyOf(key: string, row: BodyRow): Body {
    const { size, sha256 } = row;
    return {
      size,
      sha256,
      content: (range, options = {}) => {
        const { from, to } = boundsOf(range, size);
        return this.pieces(key, row, from, to, isPart(range, size), options);
      },
    };
  }

  private async *pieces(
    key: string,
    { file, sha256 }: BodyRow,
    from: number,
    to: number,
    part: boolean,
    options: CallOptions,
  ): AsyncIterable<Uint8Array> {
    const hash = createHash("sha256");
    const handle = await open(join(this.folder, file), "r").catch((error: unknown) => {
      throw goneOr(error, this.store, key);
    });
    try {
      for (let at = from; at < to;) {
        checkCall(this.runtime, options, this.store, "read");
        const wanted = Math.min(READ_BYTES, to - at);
        const { bytesRead, buffer } = await handle.read(new Uint8Array(wanted), 0, wanted, at);
        if (bytesRead === 0) throw wrongBytes({ store: this.store, key });
        at += bytesRead;
        const piece = bytesRead === wanted ? buffer : buffer.subarray(0, bytesRead);
        if (!part) hash.update(piece);
        yield piece;
      }
      if (!part && hash.digest("hex") !== sha256) throw wrongBytes({ store: this.store, key });
    } finally {
      await handle.close();
    }
  }

  /** A file that cannot be removed now goes when the folder is opened next. */
  async remove(files: Iterable<string>): Promise<void> {
    for (const file of files) {
      made.delete(file);
      await rm(join(this.folder, file), { force: true }).catch(() => undefined);
    }
  }

  /** Removes what a process that died has left: files that no row names. Those of living ones may be about to be named. */
  async sweep(isNamed: (file: string) => boolean): Promise<void> {
    const names = await readdir(this.folder).catch(() => []); // there is none before the first body
    for (const name of names) {
      const [, pid] = FILE.exec(name) ?? [];
      if (pid === undefined || isNamed(name)) continue;
      const isMade = Number(pid) === process.pid ? made.has(name.replace(/\.part$/, "")) : isAlive(Number(pid));
      if (!isMade) await this.remove([name]);
    }
  }
}

async function writeAll(handle: FileHandle, piece: Uint8Array): Promise<void> {
  for (let done = 0; done < piece.length;) {
    done += (await handle.write(piece, done, piece.length - done)).bytesWritten;
  }
}

async function syncFolder(folder: string): Promise<void> {
  if (process.platform === "win32") return; // a folder cannot be opened there
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return !(error instanceof Error && "code" in error && error.code === "ESRCH");
  }
}

function goneOr(error: unknown, store: string, key: string): SyncError {
  if (error instanceof Error && "code" in error && error.code === "ENOENT") {
    const cure = "read the key again";
    return new SyncError("NOT_FOUND", "the value was replaced", { store, operation: "read", key, cure });
  }
  return lmdbFailure(error, { store, operation: "read", key });
}
