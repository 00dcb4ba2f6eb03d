import { SyncError } from "../../error.ts";
import type { Runtime } from "../../runtime.ts";
import type { Connection } from "./connection.ts";
import type { Dialect, Names } from "./dialect.ts";
import { stateOf } from "./failures.ts";
import { transaction } from "./write.ts";

export interface SchemaOptions {
  readonly runtime: Runtime;
  readonly store: string;
  /** Whether missing tables are created. */
  readonly create: boolean;
  readonly readonly: boolean;
  readonly metaIndex: boolean;
}

const UNDEFINED_TABLE = "42P01";
/** Another process creates the same tables at the same moment: duplicate table, column or object, unique violation. */
const CREATED_MEANWHILE: ReadonlySet<string> = new Set(["42P07", "42701", "42710", "23505", "40001", "40P01"]);
const ATTEMPTS_MAX = 10;

/** Brings the tables to the version this program knows. @throws SyncError NOT_FOUND, CORRUPT for a later version. */
export async function prepare(on: Connection, dialect: Dialect, names: Names, options: SchemaOptions): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await migrate(on, dialect, names, options);
      if (options.metaIndex && !options.readonly)
        for (const statement of dialect.metaIndex) await on.execute(statement);
      break;
    } catch (error) {
      if (!CREATED_MEANWHILE.has(stateOf(error) ?? "") || attempt === ATTEMPTS_MAX) throw error;
    }
  }
  if (!options.readonly) await settle(on, dialect, names, options.runtime);
}

async function migrate(on: Connection, { migrations }: Dialect, names: Names, options: SchemaOptions): Promise<void> {
  const known = migrations.length;
  const found = await versionOf(on, names, "");
  if (found === known) return;
  if (found > known) {
    const what = `the tables are of schema ${found}, this program knows ${known}`;
    throw new SyncError("CORRUPT", what, { store: options.store, operation: "open", cure: "update this program" });
  }
  if (found === 0 && !options.create) {
    const what = `there is no table ${names.entries}`;
    const cure = "open with create: true, or correct its name";
    throw new SyncError("NOT_FOUND", what, { store: options.store, operation: "open", cure });
  }
  if (options.readonly) {
    const cure = "open it once with the right to write";
    const what = `the tables are of schema ${found} and must be brought to ${known}`;
    throw new SyncError("READONLY", what, { store: options.store, operation: "open", cure });
  }
  await transaction(on, async () => {
    // Whoever waits here finds the work done by the other.
    const from = found === 0 ? 0 : await versionOf(on, names, "FOR UPDATE");
    for (const statements of migrations.slice(from)) for (const statement of statements) await on.execute(statement);
    await on.execute(`UPDATE ${names.about} SET schema = ${known} WHERE id = 1`);
  });
}

/** 0 when there are no tables. */
async function versionOf(on: Connection, { about }: Names, lock: string): Promise<number> {
  try {
    const [row] = await on.query({ text: `SELECT schema FROM ${about} WHERE id = 1 ${lock}` });
    if (row !== undefined) return Number(row[0]);
  } catch (error) {
    if (stateOf(error) === UNDEFINED_TABLE) return 0;
    throw error;
  }
  throw new SyncError("CORRUPT", "the store's own row is gone: its tables were emptied", {
    operation: "open",
    cure: `drop ${about} and the tables beside it, or restore them from a backup`,
  });
}

/**
 * After a restart or a restore the numbers of transactions may mean other ones than before: the history begins anew
 * under another name. Old cursors are answered with relist, and removals noted before are nobody's any more.
 */
export async function settle(on: Connection, { place }: Dialect, names: Names, runtime: Runtime): Promise<void> {
  const { about, removals } = names;
  const [row] = await on.query({ text: `SELECT place = ${place} FROM ${about} WHERE id = 1` });
  if (row?.[0] === "t") return;
  const epoch = Buffer.from(runtime.random(new Uint8Array(8))).toString("hex");
  await transaction(on, async () => {
    const text = `UPDATE ${about} SET epoch = $1::text, place = ${place}, trimmed = '0' WHERE id = 1 AND place <> ${place} RETURNING id`;
    const changed = await on.query({ text }, [epoch]);
    if (changed.length > 0) await on.execute(`DELETE FROM ${removals}`);
  });
}
