import { collected } from "../../body.ts";
import type { Body } from "../../body.ts";
import type { Head } from "../../entry.ts";
import { SyncError, asSyncError } from "../../error.ts";
import type { Runtime } from "../../runtime.ts";
import { failed } from "../../store.ts";
import type { Answer, CallOptions, Write, WriteResult } from "../../store.ts";
import type { Version } from "../../version.ts";
import { headOf } from "./apply.ts";
import { BodyFiles, decodeBodyRow, encodeBodyRow, fileOf } from "./bodies.ts";
import type { Environment, Tables } from "./environment.ts";

const PAGE_ROWS = 128;
const utf8 = new TextEncoder();

/** A write that needs a transaction, and the number of its result. */
export interface Pending {
  readonly write: Write;
  readonly key: Uint8Array;
  readonly at: number;
}

interface Kept {
  readonly file: string;
  readonly row: Uint8Array;
}

/** The files of writes with bodies, by the write. */
export type KeptBodies = ReadonlyMap<Write, Kept>;
export const NONE_KEPT: KeptBodies = new Map();

/** The values that lie beside the database, as its rows tell of them. */
export class Large {
  private readonly name: string;
  private readonly environment: Environment;
  private readonly tables: Tables;
  private readonly files: BodyFiles;

  constructor(folder: string, runtime: Runtime, environment: Environment, name: string) {
    this.name = name;
    this.environment = environment;
    this.tables = environment.tables;
    this.files = new BodyFiles(folder, runtime, name);
  }

  /** The bytes that are kept apart for a stub of this version; undefined for one that is just a stub. */
  bodyOf(key: string, bytes: Uint8Array, version: Version): Body | undefined {
    const row = this.tables.bodies.get(bytes);
    if (row === undefined) return undefined;
    const decoded = decodeBodyRow(key, row, this.name);
    return decoded.version === version ? this.files.bodyOf(key, decoded) : undefined;
  }

  /** With bytes apart a stub is a value. @throws SyncError CORRUPT */
  headOf(key: string, bytes: Uint8Array, row: Uint8Array): Head {
    const { head } = headOf(key, row, this.name);
    if (head.state !== "stub" || this.bodyOf(key, bytes, head.version) === undefined) return head;
    return { ...head, state: "value" };
  }

  /** The answer that `ask` gives, with the bytes of its body in it. Asks again when the version went meanwhile. */
  async inOnePiece(ask: () => Answer, options: CallOptions | undefined): Promise<Answer> {
    for (;;) {
      this.environment.refresh();
      const { body, entry, ...about } = ask();
      if (body === undefined || entry === undefined) return { entry, ...about };
      try {
        return { entry: { ...entry, state: "value", value: await collected(body, options) }, ...about };
      } catch (error) {
        if (!(error instanceof SyncError) || error.code !== "NOT_FOUND") throw error;
      }
    }
  }

  /** Puts the bodies of writes into files, one after the other. One that fails is the result of its write. */
  async keep(
    pending: readonly Pick<Pending, "write" | "at">[],
    results: (WriteResult | undefined)[],
    options: CallOptions,
  ): Promise<KeptBodies> {
    const kept = new Map<Write, Kept>();
    for (const { write, at } of pending) {
      const { body, entry } = write;
      if (body === undefined) continue;
      try {
        const row = await this.files.keep(entry.key, entry.version, body, options);
        kept.set(write, { file: row.file, row: encodeBodyRow(entry.key, row) });
      } catch (thrown) {
        const error = asSyncError(thrown, { store: this.name, operation: "write", key: entry.key });
        if (error.code === "ABORTED" || error.code === "TIMEOUT") {
          await this.remove([...kept.values()].map(({ file }) => file));
          throw error;
        }
        results[at] = failed(error);
      }
    }
    return kept;
  }

  /** Removes those that no row names: their write was not stored, or has been replaced since. */
  async removeUnnamed(kept: KeptBodies): Promise<void> {
    this.environment.refresh();
    for (const [{ entry }, { file }] of kept) {
      const row = this.tables.bodies.get(utf8.encode(entry.key));
      if (row === undefined || fileOf(row) !== file) await this.remove([file]);
    }
  }

  remove(files: readonly string[]): Promise<void> {
    return this.files.remove(files);
  }

  /** Removes what a process that died has left. */
  async sweep(): Promise<void> {
    const named = new Set<string>();
    let start: Uint8Array | undefined;
    for (;;) {
      const page = this.tables.bodies.page(start, PAGE_ROWS);
      for (const { value } of page) named.add(fileOf(value) ?? "");
      const last = page.at(-1);
      if (last === undefined || page.length < PAGE_ROWS) break;
      start = new Uint8Array([...last.key, 0]);
    }
    await this.files.sweep((file) => named.has(file));
  }
}
