import { boundsOf, isPart, wrongBytes } from "../body.ts";
import type { Body } from "../body.ts";
import { SyncError } from "../error.ts";
import type { Runtime } from "../runtime.ts";
import { checkCall } from "../store.ts";
import type { CallOptions } from "../store.ts";
import type { Files } from "./files.ts";

/** A body in a file of its own beside the log. */
export interface KeptBody extends Body {
  readonly sha256: string;
  readonly file: string;
}

/** What is written down of a kept body. */
export interface BodyNote {
  readonly size: number;
  readonly sha256: string;
  readonly file: string;
}

const PREFIX = "body-";
const NOTE = /^body (\d{1,16}) ([0-9a-f]{64}) (body-[0-9a-f]{32})$/;
const PIECE_BYTES = 64 * 1024;

export function bodyNote({ size, sha256, file }: BodyNote): string {
  return `body ${size} ${sha256} ${file}`;
}

/** Undefined for a note that tells of no body. In an intent's the condition stands on a line before it. */
export function readBodyNote(note: Uint8Array): BodyNote | undefined {
  if (note.length === 0) return undefined;
  const text = new TextDecoder().decode(note);
  const [, size, sha256 = "", file = ""] = NOTE.exec(text.slice(text.indexOf("\n") + 1)) ?? [];
  return size === undefined ? undefined : { size: Number(size), sha256, file };
}

/**
 * Values that came as streams, each in a file `body-ID` of the journal's folder: whole and on disk before a record names
 * it. A file is held by whoever may still need it (the record's item, a letter, the call that writes it) and is doomed
 * when nobody does: it goes once the cursors that have passed its record are on disk. What a crash leaves is in no record
 * that is needed, and goes at the next start.
 */
export class Bodies {
  /** Of the files that are there, in bytes. */
  bytes = 0;
  /** How many more bytes may be taken. Asked for each piece; set by the owner. */
  roomLeft: () => number = () => Infinity;
  /** Called when a file may go, which {@link tidyAfter} then removes; set by the owner. */
  onDoomed: () => void = () => undefined;
  private readonly files: Files;
  private readonly runtime: Runtime;
  private readonly known = new Map<string, File>();
  private readonly opened = new WeakSet<Body>();
  private doomed: string[] = [];

  /** @param names What is in the folder, from {@link bodyFiles}. */
  constructor(files: Files, runtime: Runtime, names: ReadonlyMap<string, number> = new Map()) {
    this.files = files;
    this.runtime = runtime;
    for (const [name, bytes] of names) this.count(name, bytes);
  }

  /** Whether a body is one of these. */
  owns(body: Body): body is KeptBody {
    return this.opened.has(body);
  }

  /**
   * Writes what comes to a file, which is on disk when this resolves and held once for the caller.
   * @throws SyncError OVERLOADED where there is no room for it, ABORTED, TIMEOUT, what the source throws; then nothing
   * of it stays.
   */
  async take(source: AsyncIterable<Uint8Array>, options: CallOptions = {}): Promise<KeptBody> {
    const chance = this.runtime.random(new Uint8Array(16));
    const name = `${PREFIX}${Array.from(chance, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
    const file = this.count(name, 0);
    file.holders = 1;
    try {
      const sha256 = await this.fill(name, file, source, options);
      return this.open({ size: file.bytes, sha256, file: name });
    } catch (error) {
      file.holders = 0;
      await this.remove(name).catch(() => this.doomed.push(name));
      throw error;
    }
  }

  private async fill(
    name: string,
    file: File,
    source: AsyncIterable<Uint8Array>,
    options: CallOptions,
  ): Promise<string> {
    const hash = this.files.sha256();
    const handle = await this.files.create(name);
    try {
      for await (const piece of source) {
        checkCall(this.runtime, options, this.files.name, "write");
        if (piece.length > this.roomLeft()) throw noRoom(this.files.name);
        file.bytes += piece.length;
        this.bytes += piece.length;
        hash.update(piece);
        await handle.append(piece);
      }
      await handle.sync();
    } finally {
      await handle.close();
    }
    await this.files.syncFolder();
    return hash.digest();
  }

  /** The body that a note tells of. */
  open(note: BodyNote): KeptBody {
    const { size } = note;
    const body: KeptBody = {
      ...note,
      content: (range, options = {}) => {
        const { from, to } = boundsOf(range, size);
        return this.pieces(note, from, to, isPart(range, size), options);
      },
    };
    this.opened.add(body);
    return body;
  }

  /** @returns false when the file is gone. */
  hold(body: Pick<BodyNote, "file">): boolean {
    const file = this.known.get(body.file);
    if (file === undefined) return false;
    file.holders++;
    return true;
  }

  drop(body: Pick<BodyNote, "file">): void {
    const file = this.known.get(body.file);
    if (file === undefined || --file.holders > 0) return;
    this.doomed.push(body.file);
    this.onDoomed();
  }

  /** Dooms what nobody holds: to be called when everybody who may has said so. */
  doomUnheld(): void {
    for (const [name, { holders }] of this.known) if (holders === 0) this.doomed.push(name);
    if (this.doomed.length > 0) this.onDoomed();
  }

  /**
   * Removes what was doomed before `work` began, once it has succeeded: it makes sure that nothing on disk needs it.
   * One that is being read goes when that ends.
   */
  async tidyAfter(work: () => Promise<void>): Promise<void> {
    const going = this.doomed;
    this.doomed = [];
    try {
      await work();
      for (let name = going.pop(); name !== undefined; name = going.pop()) await this.remove(name);
    } finally {
      this.doomed.push(...going);
    }
  }

  /** Removes all files, whoever holds them: what they were for is over. */
  async removeAll(): Promise<void> {
    for (const [name, file] of this.known) {
      file.holders = 0;
      await this.remove(name);
    }
  }

  private async remove(name: string): Promise<void> {
    const file = this.known.get(name);
    if (file === undefined || file.holders > 0) return;
    if (file.readers > 0) {
      file.leaving = true;
      return;
    }
    this.known.delete(name);
    this.bytes -= file.bytes;
    try {
      if ((await this.files.list()).includes(name)) await this.files.remove(name);
    } catch (error) {
      this.count(name, file.bytes);
      throw error;
    }
  }

  private async *pieces(
    { file: name, sha256 }: BodyNote,
    from: number,
    to: number,
    part: boolean,
    options: CallOptions,
  ): AsyncIterable<Uint8Array> {
    const details = { store: this.files.name, operation: "read" };
    const file = this.known.get(name);
    if (file === undefined) throw new SyncError("NOT_FOUND", "the value is in every layer by now", details);
    const hash = part ? undefined : this.files.sha256();
    file.readers++;
    try {
      for (let at = from; at < to;) {
        checkCall(this.runtime, options, this.files.name, "read");
        const piece = await this.files.read(name, at, Math.min(PIECE_BYTES, to - at));
        if (piece.length === 0) throw wrongBytes({ store: this.files.name });
        at += piece.length;
        hash?.update(piece);
        yield piece;
      }
      if (hash !== undefined && hash.digest() !== sha256) throw wrongBytes({ store: this.files.name });
    } finally {
      file.readers--;
      // A failure leaves the file for the next time that doomed ones are removed.
      if (file.readers === 0 && file.leaving) await this.remove(name).catch(() => this.doomed.push(name));
    }
  }

  private count(name: string, bytes: number): File {
    const file: File = { bytes, holders: 0, readers: 0, leaving: false };
    this.known.set(name, file);
    this.bytes += bytes;
    return file;
  }
}

interface File {
  bytes: number;
  holders: number;
  readers: number;
  leaving: boolean;
}

/** The files of bodies in a folder, and their sizes. */
export async function bodyFiles(files: Files): Promise<ReadonlyMap<string, number>> {
  const found = new Map<string, number>();
  for (const name of await files.list()) if (name.startsWith(PREFIX)) found.set(name, await files.size(name));
  return found;
}

function noRoom(store: string): SyncError {
  return new SyncError("OVERLOADED", "there is no room for a value of this size", {
    store,
    operation: "write",
    cure: "wait until the layers have what is kept, or raise bytesMax",
  });
}
