import { createHash } from "node:crypto";
import { link, mkdir, open, rename, rmdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { wrongBytes } from "../../body.ts";
import { NO_META } from "../../entry.ts";
import type { Head } from "../../entry.ts";
import { SyncError } from "../../error.ts";
import { inParallel } from "../../in-parallel.ts";
import type { Runtime } from "../../runtime.ts";
import { checkCall } from "../../store.ts";
import type { CallOptions, Write } from "../../store.ts";
import { foldersOf, insidePath, keyOfPath, pathOfKey } from "../git-layout/path.ts";
import { hashOf } from "./content.ts";
import { factsFrom, factsOf, kindOf, removeFile, syncFolder } from "./disk.ts";
import type { FileFacts, Kind } from "./disk.ts";
import { codeOf, fileFailure, isMissing } from "./failures.ts";
import type { FolderLock } from "./lock.ts";
import { isItself } from "./look.ts";
import type { Found, Looks } from "./look.ts";
import { recordName } from "./record.ts";
import type { SideRecord } from "./record.ts";
import type { Side } from "./side.ts";

/** A value whose bytes are on disk, in a file that no record names yet. */
export interface Staged {
  readonly name: string;
  readonly sha256: string;
  readonly mark: string;
}

const AT_ONCE = 16;

/**
 * Changes entries, all but `stage` while the lock is held. The record is what counts: once it is on disk the entry is the
 * new one, wherever the process ends after that. The value waits in `staged` until then, and is renamed into its place
 * afterwards; who finds it still there puts it into its place.
 */
export class Commits {
  private readonly side: Side;
  private readonly looks: Looks;
  private readonly lock: FolderLock;
  private readonly runtime: Runtime;
  private names = 0;
  private isSwept = false;

  constructor(side: Side, looks: Looks, lock: FolderLock, runtime: Runtime) {
    this.side = side;
    this.looks = looks;
    this.lock = lock;
    this.runtime = runtime;
  }

  /** Puts a value on disk, beside its place. @throws SyncError; nothing is left then. */
  async stage({ entry, body }: Write, options: CallOptions): Promise<Staged> {
    const { key } = entry;
    const { store } = this.side;
    const name = this.newName(key);
    const path = this.side.stagedPath(name);
    const hash = createHash("sha256");
    try {
      const file = await open(path, "wx");
      try {
        let bytes = 0;
        const pieces = body === undefined ? [entry.value ?? new Uint8Array()] : body.content(undefined, options);
        for await (const piece of pieces) {
          if (body !== undefined) checkCall(this.runtime, options, store, "write");
          bytes += piece.length;
          if (body !== undefined && bytes > body.size) break;
          hash.update(piece);
          await file.appendFile(piece);
        }
        const sha256 = hash.digest("hex");
        const isWhole = body === undefined || (bytes === body.size && (body.sha256 ?? sha256) === sha256);
        if (!isWhole) throw wrongBytes({ store, key });
        if (this.side.durable) await file.sync();
        return { name, sha256, mark: factsFrom(path, await file.stat({ bigint: true })).mark };
      } finally {
        await file.close();
      }
    } catch (error) {
      await removeFile(path);
      throw fileFailure(error, { store, operation: "write", key });
    }
  }

  async drop(staged: Iterable<Staged>): Promise<void> {
    for (const { name } of staged) await removeFile(this.side.stagedPath(name));
  }

  /** Why the key's file cannot be put into its place; undefined when it can. */
  async refusalOf(key: string): Promise<SyncError | undefined> {
    const path = pathOfKey(key);
    const folds = await this.side.folds();
    for (const folder of foldersOf(path)) {
      const kind = await this.kindOf(folder, folds);
      if (kind === "nothing") return undefined;
      if (kind === "folder" || (kind === "file" && keyOfPath(folder) !== undefined)) continue;
      return this.inTheWay(key, folder);
    }
    const kind = await this.kindOf(path, folds);
    if (kind === "folder") {
      const isTaken = (await this.kindOf(insidePath(path), folds)) === "other";
      return isTaken ? this.inTheWay(key, insidePath(path)) : undefined;
    }
    return kind === "other" ? this.inTheWay(key, path) : undefined;
  }

  /** Something of another spelling is "other". */
  private async kindOf(path: string, folds: boolean): Promise<Kind> {
    const full = join(this.looks.root, path);
    const kind = await kindOf(full);
    return kind !== "nothing" && folds && !(await isItself(full)) ? "other" : kind;
  }

  private inTheWay(key: string, path: string): SyncError {
    return new SyncError(
      "UNSUPPORTED",
      `${JSON.stringify(path)} is a link, a device, or another key with the same file name here`,
      {
        store: this.side.store,
        operation: "write",
        key,
        cure: "remove it, or use a file system that keeps upper and lower case apart",
      },
    );
  }

  /** Stores what records say. When it returns all of it is on disk, and the files are in their places. */
  async apply(records: readonly SideRecord[]): Promise<void> {
    if (records.length === 0) return;
    if (this.side.durable) await syncFolder(this.side.path("staged"));
    await inParallel(records, AT_ONCE, (record) => this.side.writeRecord(record));
    await this.sync(
      records.map(({ key }) => this.side.recordFolder(key)),
      this.side.path("entries"),
    );
    const touched = new Set<string>();
    for (const record of records) {
      if (record.state === "value") await this.place(record, touched);
      else await this.clear(record, touched);
    }
    await this.sync(touched);
  }

  /** Removes what was forgotten. */
  async forget(found: readonly Found[], keys: readonly string[]): Promise<void> {
    const going = found.flatMap(({ head, source, leftover }): SideRecord[] => {
      const file = source?.file ?? leftover;
      if (head === undefined || file === undefined) return [];
      const { key, version } = head;
      return [{ ...GONE, key, state: "none", version, over: file.mark }];
    });
    for (const { record } of found) if (record !== undefined) await this.placeNow(record);
    await this.apply(going);
    for (const key of keys) await this.side.removeRecord(key);
    await this.sync(keys.map((key) => this.side.recordFolder(key)));
  }

  /** Brings record and file together: whatever somebody did is recorded, whatever was begun is finished. */
  async settle(keys: readonly string[]): Promise<void> {
    for (const key of keys) {
      const { record, head, source, leftover, unsettled, seenNs } = await this.looks.look(key);
      if (!unsettled && record !== undefined && seenNs !== undefined) await this.side.noteSeen(record, seenNs);
      if (!unsettled) continue;
      if (leftover !== undefined && record !== undefined) {
        await this.apply([record]);
        if (record.state === "none") await this.side.removeRecord(key);
      } else if (head?.state === "deleted")
        await this.apply([{ ...GONE, key, state: "deleted", version: head.version }]);
      else if (head !== undefined && source !== undefined) {
        const isStaged = record?.staged !== undefined && source.file.path === this.side.stagedPath(record.staged);
        if (isStaged) await this.placeNow(record);
        else await this.adopt(head, source.file);
      }
    }
  }

  private async adopt({ key, version, expires, meta }: Head, file: FileFacts): Promise<void> {
    const sha256 = await this.looks.contentOf(file);
    if (sha256 === undefined) return; // it changes: the next look tells more
    const { mark } = file;
    const seenNs = this.looks.isSeen(file) ? file.changedNs : undefined;
    const record = { ...GONE, key, state: "value", version, expires, meta, sha256, mark, seenNs } as const;
    await this.side.writeRecord(record);
    await this.sync([this.side.recordFolder(key)], this.side.path("entries"));
  }

  /** Removes what processes that died have left. Once is enough: what this one begins it ends. */
  async sweep(): Promise<void> {
    if (this.isSwept) return;
    for (const name of await this.side.namesIn("staged")) {
      const [, holder] = /^[0-9a-f]{40}\.(\d+\.\d+\.[0-9a-f]{16})\.\d+$/.exec(name) ?? [];
      if (holder === undefined ? !name.startsWith("record.") : !(await this.lock.isDead(holder))) continue;
      const id = name.slice(0, 40);
      const record = holder === undefined ? undefined : await this.recordNamed(id);
      if (record?.staged === name) await this.placeNow(record);
      else await removeFile(this.side.stagedPath(name));
    }
    await this.lock.tidy();
    this.isSwept = true;
  }

  private async recordNamed(name: string): Promise<SideRecord | undefined> {
    try {
      return await this.side.recordAt(`entries/${name.slice(0, 2)}/${name.slice(2)}`);
    } catch (error) {
      if (error instanceof SyncError && error.code === "CORRUPT") return undefined; // its reader is told
      throw error;
    }
  }

  private newName(key: string): string {
    return `${recordName(key)}.${this.lock.id}.${this.names++}`;
  }

  private async placeNow(record: SideRecord): Promise<void> {
    const touched = new Set<string>();
    await this.place(record, touched);
    await this.sync(touched);
  }

  /** Renames a staged value into its place. */
  private async place({ key, staged }: SideRecord, touched: Set<string>): Promise<void> {
    if (staged === undefined) return;
    const from = this.side.stagedPath(staged);
    const waiting = await factsOf(from);
    if (waiting === undefined) return;
    const path = pathOfKey(key);
    await this.makeFolders(path, touched);
    const there = await this.looks.fileOf(key);
    if (there?.mark === waiting.mark) {
      await removeFile(from); // two names of one file, since it was about to move: a rename would leave both
      return;
    }
    let target = there?.path;
    if (target === undefined) {
      const isFolder = (await kindOf(join(this.looks.root, path))) === "folder";
      target = join(this.looks.root, isFolder ? insidePath(path) : path);
    }
    try {
      await rename(from, target);
    } catch (error) {
      throw fileFailure(error, { store: this.side.store, operation: "write", key });
    }
    touched.add(dirname(target));
  }

  /** Makes the folders above a path. A key's file that stands where a folder has to be moves into it. */
  private async makeFolders(path: string, touched: Set<string>): Promise<void> {
    for (const folder of foldersOf(path)) {
      const full = join(this.looks.root, folder);
      const kind = await kindOf(full);
      if (kind === "folder") continue;
      if (kind === "file") await this.moveInside(folder, touched);
      else {
        await mkdir(full).catch((error: unknown) => {
          if (codeOf(error) !== "EEXIST") throw error; // a person made it meanwhile
        });
        touched.add(dirname(full));
      }
    }
  }

  private async moveInside(folder: string, touched: Set<string>): Promise<void> {
    const key = keyOfPath(folder);
    const full = join(this.looks.root, folder);
    if (key === undefined) throw this.inTheWay(folder, folder);
    await this.settle([key]);
    const { head, source } = await this.looks.look(key);
    if (head !== undefined && source !== undefined && source.file.path === full) {
      const name = this.newName(key);
      await link(full, this.side.stagedPath(name));
      const sha256 = source.sha256 ?? (await hashOf(source.file));
      if (sha256 === undefined) throw new SyncError("UNAVAILABLE", "the file changes", { store: this.side.store, key });
      if (this.side.durable) await syncFolder(this.side.path("staged"));
      const { version, expires, meta } = head;
      const { mark } = source.file;
      const record = { ...GONE, key, state: "value", version, expires, meta, sha256, mark, staged: name } as const;
      await this.side.writeRecord(record);
      await this.sync([this.side.recordFolder(key)], this.side.path("entries"));
      await removeFile(full);
      await mkdir(full);
      await this.place(record, touched);
    } else await mkdir(full); // it was left to be removed, and has been
    touched.add(dirname(full));
  }

  /** Removes the file that a tombstone, or nothing, stands for, and the folders that are empty then. */
  private async clear({ key, over }: SideRecord, touched: Set<string>): Promise<void> {
    if (over === undefined) return;
    const file = await this.looks.fileOf(key);
    if (file?.mark !== over) return;
    await removeFile(file.path);
    touched.add(dirname(file.path));
    for (let folder = dirname(file.path); folder.length > this.looks.root.length; folder = dirname(folder)) {
      try {
        await rmdir(folder);
      } catch (error) {
        const code = codeOf(error);
        if (code !== "ENOTEMPTY" && code !== "EEXIST" && !isMissing(error)) throw error;
        return;
      }
      touched.add(dirname(folder));
    }
  }

  private async sync(folders: Iterable<string>, ...more: readonly string[]): Promise<void> {
    if (!this.side.durable) return;
    await inParallel([...new Set([...folders, ...more])], AT_ONCE, syncFolder);
  }
}

/** A record of a key that has no value. */
const GONE = {
  expires: null,
  meta: NO_META,
  sha256: "",
  mark: "",
  seenNs: undefined,
  staged: undefined,
  over: undefined,
} as const;
