import { appendFile, link, mkdir, open, readFile, readdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { SyncError } from "../../error.ts";
import { VERSION_ZERO, isVersion } from "../../version.ts";
import type { Version } from "../../version.ts";
import { SIDE_FOLDER } from "../git-layout/path.ts";
import { factsOf, removeFile, replaceFile, syncFolder } from "./disk.ts";
import { codeOf, isMissing } from "./failures.ts";
import { encodeRecord, encodeSeen, parseRecord, recordPath } from "./record.ts";
import type { SideRecord } from "./record.ts";

const FORMAT = /^microsync file (\d+) (\d{1,15})\n$/;
const README = `Sync keeps here what the files around this folder cannot say: versions, expiry, metadata and deletions.
Do not edit it. Edit, add and delete the files themselves: Sync notices.
`;

/** How many keys are kept by the names of their records, so that a list need not read every record of the folder again. */
const KEYS_KEPT_MAX = 200_000;

/**
 * The hidden folder beside the files. It comes into being with the first write; a folder that is only read stays as it
 * is. `entries` has a record for each key that Sync wrote, `staged` the values on their way to their places, `locks` who has
 * the folder open, `format` when the first write was, `watermark` up to which version deletions were collected.
 */
export class Side {
  readonly folder: string;
  readonly store: string;
  readonly durable: boolean;
  private isFolding: boolean | undefined = undefined;
  private temporaries = 0;
  private readonly keys = new Map<string, string>();

  constructor(root: string, store: string, durable: boolean) {
    this.folder = join(root, SIDE_FOLDER, "file");
    this.store = store;
    this.durable = durable;
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  stagedPath(name: string): string {
    return join(this.folder, "staged", name);
  }

  /**
   * When Sync first wrote here, in Unix ms; undefined: it never did. Not remembered: others begin, and remove all of it.
   * @throws SyncError CORRUPT for a later format.
   */
  async created(): Promise<number | undefined> {
    const text = await this.textOf("format");
    if (text === undefined) return undefined;
    const [, format, ms] = FORMAT.exec(text) ?? [];
    if (format !== "1") {
      const what = `${this.path("format")} is not of a format that is known`;
      throw new SyncError("CORRUPT", what, { store: this.store, cure: "use a newer version of Sync, or restore it" });
    }
    return Number(ms);
  }

  /** Whether this file system takes names for the same that differ only in case, as far as that is known. */
  async folds(): Promise<boolean> {
    if (this.isFolding === undefined && (await this.created()) !== undefined) {
      this.isFolding = (await factsOf(this.path("FORMAT"))) !== undefined;
    }
    return this.isFolding ?? false;
  }

  /** Makes the folder, as of now, unless somebody has. */
  async create(nowMs: number): Promise<void> {
    if ((await this.created()) !== undefined) return;
    for (const name of ["entries", "staged", "locks"]) await mkdir(this.path(name), { recursive: true });
    await writeFile(this.path("README.md"), README);
    const temporary = this.path(`format.${process.pid}.${this.temporaries++}`);
    const file = await open(temporary, "w");
    try {
      await file.writeFile(`microsync file 1 ${nowMs}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    // Of two that come first at once, one names the moment.
    await link(temporary, this.path("format")).catch((error: unknown) => {
      if (codeOf(error) !== "EEXIST") throw error;
    });
    await removeFile(temporary);
    for (const path of [this.folder, dirname(this.folder), dirname(dirname(this.folder))]) await syncFolder(path);
  }

  /** @throws SyncError CORRUPT */
  async record(key: string): Promise<SideRecord | undefined> {
    return this.recordAt(recordPath(key));
  }

  async recordAt(path: string): Promise<SideRecord | undefined> {
    const text = await this.textOf(path);
    return text === undefined ? undefined : parseRecord(text, this.path(path), this.store);
  }

  /** The key that a record's name stands for, which never changes; undefined when the record is gone. */
  async keyOf(folder: string, name: string): Promise<string | undefined> {
    const known = this.keys.get(folder + name);
    if (known !== undefined) return known;
    const key = (await this.recordAt(`entries/${folder}/${name}`))?.key;
    if (key === undefined) return undefined;
    if (this.keys.size >= KEYS_KEPT_MAX) this.keys.clear();
    this.keys.set(folder + name, key);
    return key;
  }

  /** The caller syncs {@link recordFolder}. Only while the lock is held. */
  async writeRecord(record: SideRecord): Promise<void> {
    const temporary = this.path(`staged/record.${process.pid}.${this.temporaries++}`);
    await replaceFile(this.path(recordPath(record.key)), temporary, encodeRecord(record), this.durable);
  }

  /**
   * Notes `seenNs` in a record that is not to change otherwise. Need not last: who misses it looks at the content. Only while
   * the lock is held.
   */
  async noteSeen(record: SideRecord, seenNs: bigint): Promise<void> {
    const path = recordPath(record.key);
    const isBare = (await this.textOf(path)) === encodeRecord({ ...record, seenNs: undefined });
    if (isBare) await appendFile(this.path(path), encodeSeen(seenNs));
    else await this.writeRecord({ ...record, seenNs });
  }

  recordFolder(key: string): string {
    return dirname(this.path(recordPath(key)));
  }

  async removeRecord(key: string): Promise<void> {
    await removeFile(this.path(recordPath(key)));
  }

  /** The folders of records, each with the names in it. */
  async *recordNames(): AsyncIterable<{ readonly folder: string; readonly names: readonly string[] }> {
    for (const folder of (await this.namesIn("entries")).sort()) {
      yield { folder, names: await this.namesIn(`entries/${folder}`) };
    }
  }

  async namesIn(folder: string): Promise<string[]> {
    try {
      return await readdir(this.path(folder));
    } catch (error) {
      if (isMissing(error)) return [];
      throw error;
    }
  }

  /** Versions up to this one may have been deleted for good. */
  async watermark(): Promise<Version> {
    const text = (await this.textOf("watermark"))?.trimEnd() ?? VERSION_ZERO;
    if (isVersion(text)) return text;
    throw new SyncError("CORRUPT", `${this.path("watermark")} holds no version`, {
      store: this.store,
      cure: "restore it; without it, deleted keys may come back",
    });
  }

  async raiseWatermark(to: Version): Promise<void> {
    if (to <= (await this.watermark())) return;
    const temporary = this.path(`staged/record.${process.pid}.${this.temporaries++}`);
    await replaceFile(this.path("watermark"), temporary, `${to}\n`, this.durable);
    if (this.durable) await syncFolder(this.folder);
  }

  private async textOf(name: string): Promise<string | undefined> {
    try {
      return await readFile(this.path(name), "utf8");
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  }
}
