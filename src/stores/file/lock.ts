import { link, mkdir, open, readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { SyncError } from "../../error.ts";
import { randomBelow, sleep } from "../../runtime.ts";
import type { Runtime } from "../../runtime.ts";
import { aborted, checkCall } from "../../store.ts";
import type { CallOptions } from "../../store.ts";
import { removeFile } from "./disk.ts";
import { codeOf, fileFailure, isMissing } from "./failures.ts";
import { lifeOf, thisProcess } from "../../process.ts";
import type { ProcessId } from "../../process.ts";

/**
 * One writer of a folder at a time, among all processes of the machine. Each opened store has a file that says who it is;
 * the lock is a second name (a hard link) of its holder's file, so it comes into being whole or not at all, and only if
 * there is none.
 *
 * A lock whose holder is dead is removed by whoever holds `break.HOLDER`, a lock of the same kind: while it is held
 * nobody else may remove that holder's lock, and the dead holder does not, so what is looked at is what is removed. Names of
 * holders are never used twice. A breaker that dies leaves a lock that is broken the same way.
 */
export class FolderLock {
  private readonly folder: string;
  private readonly runtime: Runtime;
  private readonly store: string;
  private readonly own: ProcessId = thisProcess();
  readonly id: string;
  private putting: Promise<void> | undefined = undefined;
  private tail: Promise<unknown> = Promise.resolve();

  constructor(folder: string, runtime: Runtime, store: string) {
    this.folder = folder;
    this.runtime = runtime;
    this.store = store;
    const chance = Buffer.from(runtime.random(new Uint8Array(8))).toString("hex");
    this.id = `${this.own.pid}.${this.own.start}.${chance}`;
  }

  /** Shows that this store is open: before it, what it leaves in the folder counts as a dead one's. */
  show(): Promise<void> {
    this.putting ??= this.put().catch((error: unknown) => {
      this.putting = undefined; // the next one tries again
      throw error;
    });
    return this.putting;
  }

  /** @throws SyncError ABORTED, TIMEOUT, or UNAVAILABLE when nobody lets go; `work` has not begun then. */
  hold<T>(options: CallOptions, operation: string, work: () => Promise<T>): Promise<T> {
    const turn = this.tail.then(async () => {
      await this.acquire(options, operation);
      try {
        return await work();
      } finally {
        await removeFile(join(this.folder, LOCK));
      }
    });
    this.tail = turn.catch(() => undefined);
    return turn;
  }

  /** Gives back what shows that this store is open. */
  async close(): Promise<void> {
    await this.tail;
    if (this.putting !== undefined) await removeFile(join(this.folder, this.id));
  }

  /** Whether the store of this id is certainly not open any more: it was closed, or its process is dead. */
  async isDead(id: string): Promise<boolean> {
    if (id === this.id) return false;
    const holder = await this.read(id);
    return holder === undefined || lifeOf(holder.process, this.own) === "dead";
  }

  /** Removes what dead stores left to show that they are open. Only while the lock is held. */
  async tidy(): Promise<void> {
    for (const name of await readdir(this.folder)) {
      if (ID.test(name) && (await this.isDead(name))) await removeFile(join(this.folder, name));
    }
  }

  private async acquire(options: CallOptions, operation: string): Promise<void> {
    const until = this.runtime.monotonic() + WAIT_MS_MAX;
    try {
      await this.show();
      for (let waitMs = 1; ; waitMs = Math.min(2 * waitMs, PAUSE_MS_MAX)) {
        checkCall(this.runtime, options, this.store, operation);
        if (await this.take(LOCK)) return;
        if (this.runtime.monotonic() >= until) throw await this.neverFree(operation);
        await sleep(this.runtime, 1 + randomBelow(this.runtime, waitMs), options.signal).catch(() => {
          throw aborted(options.signal as AbortSignal, this.store, operation);
        });
      }
    } catch (error) {
      throw fileFailure(error, { store: this.store, operation });
    }
  }

  private async put(): Promise<void> {
    await mkdir(this.folder, { recursive: true });
    const { pid, start, host, boot, namespace } = this.own;
    const file = await open(join(this.folder, this.id), "wx");
    try {
      await file.writeFile([this.id, String(pid), start, host, boot, namespace, ""].join("\n"));
      await file.sync();
    } finally {
      await file.close();
    }
  }

  private async take(name: string): Promise<boolean> {
    const path = join(this.folder, name);
    try {
      await link(join(this.folder, this.id), path);
      return true;
    } catch (error) {
      if (isMissing(error)) {
        this.putting = undefined; // the folder was emptied: the next try shows this store again
        await this.show();
        return false;
      }
      if (codeOf(error) !== "EEXIST") throw error;
    }
    const holder = await this.read(name);
    if (holder === undefined) return false; // let go in the meantime
    if (holder.id === this.id) return true; // it could not be removed when it was let go
    if (!(await this.isDead(holder.id))) return false;
    const breaking = `break.${holder.id}`;
    if (!(await this.take(breaking))) return false;
    try {
      if ((await this.read(name))?.id === holder.id) await removeFile(path);
    } finally {
      await removeFile(join(this.folder, breaking));
    }
    return false;
  }

  private async read(name: string): Promise<{ readonly id: string; readonly process: ProcessId } | undefined> {
    try {
      const text = await readFile(join(this.folder, name), "utf8");
      const [id = "", pid = "", start = "", host = "", boot = "", namespace = ""] = text.split("\n");
      return { id, process: { pid: Number(pid), start, host, boot, namespace } };
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  }

  private async neverFree(operation: string): Promise<SyncError> {
    const holder = await this.read(LOCK);
    const who = holder === undefined ? "others" : `process ${holder.process.pid} of ${holder.process.host}`;
    return new SyncError("UNAVAILABLE", `${who} did not let go of the folder for ${WAIT_MS_MAX / 1000} s`, {
      store: this.store,
      operation,
      cure: `try again; if that process has ended, remove ${join(this.folder, LOCK)}`,
    });
  }
}

const LOCK = "lock";
const ID = /^\d+\.\d+\.[0-9a-f]{16}$/;
const PAUSE_MS_MAX = 20;
const WAIT_MS_MAX = 10_000;
