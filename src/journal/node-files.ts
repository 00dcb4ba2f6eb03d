import { createHash } from "node:crypto";
import {
  close,
  constants,
  fdatasync,
  fsync,
  ftruncate,
  fstat,
  mkdir,
  open,
  read,
  readdir,
  rename,
  stat,
  unlink,
  write,
} from "node:fs";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { SyncError } from "../error.ts";
import type { Runtime } from "../runtime.ts";
import { systemRuntime } from "../system.ts";
import type { Claim, Files, OpenFile } from "./files.ts";
import { claimFolder } from "./node-claim.ts";

/** Only the owner reads and writes what is in the journal: it holds values. */
const FOLDER_MODE = 0o700;
const FILE_MODE = 0o600;
/** How many files stay open for reading; a flush reads thousands of records of a few segments. */
const READERS_MAX = 16;

/** The files of a journal in a folder of the disk, by Node. The folder is created with its first file, or the claim. */
export function nodeFiles(folder: string, options: { readonly runtime?: Runtime } = {}): Files {
  const { runtime = systemRuntime } = options;
  const readers = new Readers(folder);
  const path = (name: string) => join(folder, name);
  const attempt = <T>(operation: string, name: string, work: (done: Done<T>) => void) =>
    call(work).catch((cause: unknown) => {
      throw refused(folder, operation, name, cause);
    });
  const opened = (fd: number, length: number, name: string) => new NodeFile(folder, name, fd, length);
  return {
    name: `journal ${folder}`,
    async list() {
      try {
        return await call<string[]>((done) => readdir(folder, done));
      } catch (cause) {
        if (codeOf(cause) === "ENOENT") return [];
        throw refused(folder, "list", "", cause);
      }
    },
    async size(name) {
      return (await attempt<{ size: number }>("look at", name, (done) => stat(path(name), done))).size;
    },
    async read(name, from, length, into) {
      try {
        return await readers.use(name, (fd) => readFully(fd, from, length, into));
      } catch (cause) {
        throw refused(folder, "read", name, cause);
      }
    },
    async create(name) {
      await attempt<unknown>("create", "", (done) => mkdir(folder, { recursive: true, mode: FOLDER_MODE }, done));
      const fd = await attempt<number>("create", name, (done) => open(path(name), "wx", FILE_MODE, done));
      return opened(fd, 0, name);
    },
    async open(name) {
      const fd = await attempt<number>("open", name, (done) => open(path(name), "r+", done));
      const { size } = await attempt<{ size: number }>("look at", name, (done) => fstat(fd, done));
      return opened(fd, size, name);
    },
    async rename(from, to) {
      await attempt<void>("rename", from, (done) => rename(path(from), path(to), done));
      await readers.drop(to);
    },
    async remove(name) {
      await readers.drop(name);
      await attempt<void>("remove", name, (done) => unlink(path(name), done));
    },
    async syncFolder() {
      if (process.platform === "win32") return; // a folder cannot be opened there; NTFS logs the rename itself
      await attempt<unknown>("sync", "", (done) => mkdir(folder, { recursive: true, mode: FOLDER_MODE }, done));
      const fd = await attempt<number>("sync", "", (done) => open(folder, "r", done));
      try {
        await attempt<void>("sync", "", (done) => fsync(fd, done));
      } finally {
        await call<void>((done) => close(fd, done));
      }
    },
    sha256() {
      const hash = createHash("sha256");
      return { update: (bytes) => void hash.update(bytes), digest: () => hash.digest("hex") };
    },
    crc32,
    async claim(): Promise<Claim> {
      await attempt<unknown>("create", "", (done) => mkdir(folder, { recursive: true, mode: FOLDER_MODE }, done));
      const claim = await claimFolder(folder, runtime);
      readers.keep = true;
      return {
        async release() {
          readers.keep = false;
          try {
            await readers.dropAll();
          } finally {
            await claim.release();
          }
        },
      };
    },
  };
}

class NodeFile implements OpenFile {
  private readonly folder: string;
  private readonly name: string;
  private readonly fd: number;
  private length: number;
  /** The file once more, opened so that a write of it returns when the bytes are on disk. */
  private synced: number | undefined;

  constructor(folder: string, name: string, fd: number, length: number) {
    this.folder = folder;
    this.name = name;
    this.fd = fd;
    this.length = length;
  }

  append(bytes: Uint8Array): Promise<void> {
    return this.write(this.fd, bytes);
  }

  async appendSynced(bytes: Uint8Array): Promise<void> {
    if (process.platform !== "linux") {
      await this.write(this.fd, bytes);
      return this.sync();
    }
    // Without a turn of others in between where it is open: the disk has begun when this returns.
    this.synced ??= await this.attempt<number>("open", (done) => {
      open(join(this.folder, this.name), constants.O_WRONLY | constants.O_DSYNC, done);
    });
    await this.write(this.synced, bytes);
  }

  sync(): Promise<void> {
    return this.attempt("sync", (done) => fdatasync(this.fd, done));
  }

  async truncate(length: number): Promise<void> {
    await this.attempt<void>("truncate", (done) => ftruncate(this.fd, length, done));
    this.length = length;
  }

  async close(): Promise<void> {
    const { synced } = this;
    if (synced !== undefined) await this.attempt<void>("close", (done) => close(synced, done));
    await this.attempt<void>("close", (done) => close(this.fd, done));
  }

  private async write(fd: number, bytes: Uint8Array): Promise<void> {
    const { length } = this;
    for (let done = 0; done < bytes.length;) {
      const left = bytes.length - done;
      done += await this.attempt<number>("write", (then) => write(fd, bytes, done, left, length + done, then));
    }
    this.length = length + bytes.length;
  }

  private attempt<T>(operation: string, work: (done: Done<T>) => void): Promise<T> {
    return call(work).catch((cause: unknown) => {
      throw refused(this.folder, operation, this.name, cause);
    });
  }
}

interface Reader {
  readonly fd: number;
  users: number;
  dropped: boolean;
}

/** Files open for reading. One that is dropped while somebody reads it is closed by the last of them. */
class Readers {
  /** Whether they stay open after a read. */
  keep = false;
  private readonly folder: string;
  private readonly open = new Map<string, Promise<Reader>>();

  constructor(folder: string) {
    this.folder = folder;
  }

  async use<T>(name: string, work: (fd: number) => Promise<T>): Promise<T> {
    const found = this.open.get(name) ?? this.start(name);
    this.open.delete(name); // and in again as the one used last
    this.open.set(name, found);
    const reader = await found.catch((error: unknown) => {
      if (this.open.get(name) === found) this.open.delete(name);
      throw error;
    });
    reader.users++;
    try {
      return await work(reader.fd);
    } finally {
      reader.users--;
      if (!this.keep) await this.drop(name);
      for (const oldest of this.open.keys()) {
        if (this.open.size <= READERS_MAX) break;
        await this.drop(oldest);
      }
      await this.closeUnused(reader);
    }
  }

  /** Returns once the file is closed, or left to those who are reading it. */
  async drop(name: string): Promise<void> {
    const found = this.open.get(name);
    this.open.delete(name);
    const reader = await found?.catch(() => undefined); // whoever wanted to read it was told
    if (reader === undefined) return;
    reader.dropped = true;
    await this.closeUnused(reader);
  }

  async dropAll(): Promise<void> {
    await Promise.all([...this.open.keys()].map((name) => this.drop(name)));
  }

  private async start(name: string): Promise<Reader> {
    const fd = await call<number>((done) => open(join(this.folder, name), "r", done));
    return { fd, users: 0, dropped: false };
  }

  private async closeUnused(reader: Reader): Promise<void> {
    if (!reader.dropped || reader.users !== 0) return;
    reader.users = -1;
    await call<void>((done) => close(reader.fd, done));
  }
}

async function readFully(fd: number, from: number, length: number, into?: Uint8Array): Promise<Uint8Array> {
  // Not zeroed: this thread does not touch it before the one that reads has.
  const bytes = into?.subarray(0, length) ?? new Uint8Array(Buffer.allocUnsafeSlow(length).buffer);
  let done = 0;
  while (done < length) {
    const count = await call<number>((then) => read(fd, bytes, done, length - done, from + done, then));
    if (count === 0) return into === undefined ? bytes.slice(0, done) : bytes.subarray(0, done);
    done += count;
  }
  return bytes;
}

type Done<T> = (error: NodeJS.ErrnoException | null, result?: T) => void;

/** Callbacks, because a promise of `node:fs/promises` costs more than the call. */
function call<T>(work: (done: Done<T>) => void): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    work((error, result) => {
      if (error) reject(error);
      else resolve(result as T);
    });
  });
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "unknown error";
}

const FULL = new Set(["ENOSPC", "EDQUOT", "EFBIG"]);

function refused(folder: string, operation: string, name: string, cause: unknown): SyncError {
  if (cause instanceof SyncError) return cause;
  const code = codeOf(cause);
  const what = `cannot ${operation} ${name === "" ? "the folder" : name}: ${code}`;
  const cure = FULL.has(code)
    ? `free space on the disk that holds ${folder}`
    : `make sure that ${folder} can be read and written`;
  return new SyncError("UNAVAILABLE", what, { store: `journal ${folder}`, operation, cure, cause });
}
