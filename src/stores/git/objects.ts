import { SyncError } from "../../error.ts";
import type { Git, Running } from "./command.ts";
import { gitError } from "./command.ts";

export interface ObjectInfo {
  readonly id: string;
  readonly type: string;
  /** In bytes. */
  readonly size: number;
}

export interface ObjectBytes extends ObjectInfo {
  readonly bytes: Uint8Array;
}

/** Reads objects by id, `commit:path` or reference name, through one long-lived `git cat-file`. */
export interface Objects {
  /** In the order of the names; undefined where there is no such object. */
  infos(names: readonly string[]): Promise<(ObjectInfo | undefined)[]>;
  /** As infos, with the bytes. Together they are in memory: the caller bounds how much it asks for. */
  contents(names: readonly string[]): Promise<(ObjectBytes | undefined)[]>;
  close(): Promise<void>;
}

interface Request {
  readonly bytes: boolean;
  resolve(found: ObjectInfo | ObjectBytes | undefined): void;
  reject(error: SyncError): void;
}

const HEADER = /^([0-9a-f]{40,64}) ([a-z]+) ([0-9]+)$/;
const LF = 10;

export function objects(git: Git): Objects {
  let current: Session | undefined;
  let closed = false;

  const session = (): Session => {
    if (closed) throw new SyncError("CLOSED", "the store is closed");
    if (current === undefined || current.over) current = new Session(git);
    return current;
  };
  const ask = async (names: readonly string[], bytes: boolean) => {
    if (names.length === 0) return [];
    return session().ask(names, bytes);
  };

  return {
    infos: (names) => ask(names, false),
    contents: (names) => ask(names, true) as Promise<(ObjectBytes | undefined)[]>,
    async close() {
      closed = true;
      await current?.close();
    },
  };
}

/** One process and what it still owes. When it ends, everything owed fails, and the next question starts another. */
class Session {
  over = false;
  private readonly running: Running;
  private readonly ended: Promise<void>;
  private readonly owed: Request[] = [];
  private next = 0; // the first of `owed` that is not answered yet
  private buffer: Buffer = Buffer.alloc(0);
  /** The object whose bytes are arriving. */
  private pending: { info: ObjectInfo; parts: Buffer[]; missing: number } | undefined;

  constructor(git: Git) {
    this.running = git.start(["cat-file", "--batch-command", "--buffer"]);
    const { child } = this.running;
    child.stdout?.on("data", (chunk: Buffer) => this.take(chunk));
    this.ended = new Promise((resolve) => {
      child.on("error", (error) => this.end(new SyncError("NOT_FOUND", "git could not be started", { cause: error })));
      child.on("close", () => {
        this.end(gitError("cat-file", this.running.stderr()));
        resolve();
      });
    });
  }

  ask(names: readonly string[], bytes: boolean): Promise<(ObjectInfo | undefined)[]> {
    const command = bytes ? "contents" : "info";
    let text = "";
    const answers = names.map((name) => {
      if (name.includes("\n")) return Promise.resolve(undefined); // could not be asked for on a line, and is no place
      text += `${command} ${name}\n`;
      return new Promise<ObjectInfo | undefined>((resolve, reject) => this.owed.push({ bytes, resolve, reject }));
    });
    this.running.child.stdin?.write(`${text}flush\n`);
    return Promise.all(answers);
  }

  async close(): Promise<void> {
    this.running.child.stdin?.end();
    await this.ended;
  }

  private end(error: SyncError): void {
    this.over = true;
    for (const request of this.owed.slice(this.next)) request.reject(error);
    this.owed.length = 0;
    this.next = 0;
  }

  private take(chunk: Buffer): void {
    let rest: Buffer = this.buffer.length === 0 ? chunk : Buffer.concat([this.buffer, chunk]);
    for (;;) {
      if (this.pending !== undefined) {
        const part = rest.subarray(0, this.pending.missing);
        this.pending.parts.push(part);
        this.pending.missing -= part.length;
        rest = rest.subarray(part.length);
        if (this.pending.missing > 0) break;
        this.finish(this.pending.info, this.pending.parts);
        continue;
      }
      const line = rest.indexOf(LF);
      if (line < 0) break;
      this.header(rest.toString("utf8", 0, line));
      rest = rest.subarray(line + 1);
    }
    // What is kept must not hold the whole chunk in memory.
    this.buffer = rest.length === 0 ? rest : Buffer.from(rest);
  }

  private header(line: string): void {
    const match = HEADER.exec(line);
    if (match === null) return this.answer(undefined); // "NAME missing", "NAME ambiguous"
    const info: ObjectInfo = { id: match[1] ?? "", type: match[2] ?? "", size: Number(match[3]) };
    // After the bytes comes a line feed that is not one of them.
    if (this.owed[this.next]?.bytes === true) this.pending = { info, parts: [], missing: info.size + 1 };
    else this.answer(info);
  }

  private finish(info: ObjectInfo, parts: readonly Buffer[]): void {
    this.pending = undefined;
    // A copy of its own: callers keep values for long, and a slice would keep its neighbours alive.
    const bytes = new Uint8Array(info.size);
    let at = 0;
    for (const part of parts) {
      const wanted = part.subarray(0, info.size - at);
      bytes.set(wanted, at);
      at += wanted.length;
    }
    this.answer({ ...info, bytes } as ObjectBytes);
  }

  private answer(found: ObjectInfo | undefined): void {
    const request = this.owed[this.next++];
    request?.resolve(found);
    if (this.next > 1024 && this.next * 2 > this.owed.length) {
      this.owed.splice(0, this.next);
      this.next = 0;
    }
  }
}
