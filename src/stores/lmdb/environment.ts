import { constants } from "node:fs";
import { access, mkdir, open as openFile, stat } from "node:fs/promises";
import { endianness } from "node:os";
import { dirname, join } from "node:path";
import { open } from "lmdb";
import type { Database, RootDatabase } from "lmdb";
import { SyncError } from "../../error.ts";
import { Commits } from "./commits.ts";
import { lmdbFailure } from "./failures.ts";
import { StagedTable } from "./staged.ts";
import type { Row, Table } from "./staged.ts";

export const TABLES = ["entries", "changes", "removals", "renewals", "epochs", "about", "bodies"] as const;

/** The tables of one folder. */
export type Tables = Readonly<Record<(typeof TABLES)[number], Table>>;

export interface Environment {
  readonly tables: Tables;
  /**
   * Runs `body`, which may not be asynchronous, as a write transaction that no other process or call comes between; again
   * from the beginning where one did. Resolves when it is on disk; when `body` throws or the disk refuses, nothing of it
   * is stored.
   *
   * With `overlappingSync` off LMDB commits as its authors wrote it: data pages, fdatasync, then the page that names
   * them through a descriptor opened with O_DSYNC. test/stores/lmdb.durable.test.ts watches the system calls.
   */
  transaction<T>(body: () => T): Promise<T>;
  /** Lets the next read see what other processes committed. */
  refresh(): void;
  close(): Promise<void>;
}

const ENCODING = { encoding: "binary", keyEncoding: "binary" } as const;
const FORMAT = 1;
const FORMAT_KEY = new TextEncoder().encode("format");
const MAGIC = 0xbeefc0de;
/** Of the LMDB inside lmdb 3. */
const DATA_VERSION = 2;
/** Where the first page names the format, behind the page's own head. */
const MAGIC_AT = 24;
const VERSION_AT = 28;
const META_BYTES = 32;

/**
 * Opens the folder's database, or makes one.
 * @throws SyncError NOT_FOUND, INVALID, UNAUTHORISED, CORRUPT, UNAVAILABLE; nothing is written then.
 */
export async function openEnvironment(folder: string, create: boolean, store: string): Promise<Environment> {
  const details = { store, operation: "open" };
  try {
    await prepareFolder(folder, create, store);
    await checkDataFile(join(folder, "data.mdb"), store);
    return openTables(folder, store);
  } catch (error) {
    throw lmdbFailure(error, details);
  }
}

async function prepareFolder(folder: string, create: boolean, store: string): Promise<void> {
  const found = await statOf(folder);
  if (found === undefined) {
    if (!create) {
      throw new SyncError("NOT_FOUND", `there is no folder ${folder}`, {
        store,
        cure: "create it, or correct the path",
      });
    }
    const first = await mkdir(folder, { recursive: true });
    if (first !== undefined) await syncFolders(folder, dirname(first));
  } else if (!found.isDirectory()) {
    throw new SyncError("INVALID", `${folder} is not a folder`, { store, cure: "name a folder" });
  }
  await access(folder, constants.R_OK | constants.W_OK | constants.X_OK);
}

/** LMDB syncs its files, not the names of the folders that lead to them. */
async function syncFolders(folder: string, last: string): Promise<void> {
  if (process.platform === "win32") return; // a folder cannot be opened there
  for (let path = folder; ; path = dirname(path)) {
    const handle = await openFile(path, "r");
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
    if (path === last || path === dirname(path)) return;
  }
}

/** LMDB's binding ends the process on a file that is not a database, so this looks first. */
async function checkDataFile(path: string, store: string): Promise<void> {
  const found = await statOf(path);
  if (found === undefined || (found.isFile() && found.size === 0)) return;
  if (!found.isFile()) throw new SyncError("INVALID", `${path} is not a file`, { store, cure: "name another folder" });
  await access(path, constants.R_OK | constants.W_OK);
  const file = await openFile(path, "r");
  try {
    const { bytesRead, buffer } = await file.read(new Uint8Array(META_BYTES), 0, META_BYTES, 0);
    const view = new DataView(buffer.buffer);
    const little = endianness() === "LE";
    const cure = "name another folder; a cache can be removed and fills again";
    if (bytesRead < META_BYTES || view.getUint32(MAGIC_AT, little) !== MAGIC) {
      throw new SyncError("CORRUPT", `${path} is not an LMDB database`, { store, cure });
    }
    const version = view.getUint32(VERSION_AT, little) & 0xffff;
    if (version !== DATA_VERSION) {
      const what = `${path} is of LMDB's format ${version}, this program knows ${DATA_VERSION}`;
      throw new SyncError("CORRUPT", what, { store, cure });
    }
  } finally {
    await file.close();
  }
}

async function openTables(folder: string, store: string): Promise<Environment> {
  const root = open<Uint8Array, Uint8Array>({
    path: folder,
    noSubdir: false,
    overlappingSync: false,
    // Else a failed commit leaves a rejected promise that nobody can hold.
    eventTurnBatching: false,
    ...ENCODING,
  });
  try {
    checkFormat(root, folder, store);
    const databases = TABLES.map((name) => root.openDB<Uint8Array, Uint8Array>({ name, ...ENCODING }));
    return environment(root, databases, store);
  } catch (error) {
    await root.close();
    throw error;
  }
}

/** Before anything is created: an environment of another program, or of a later Sync, stays as it is. */
function checkFormat(root: RootDatabase<Uint8Array, Uint8Array>, folder: string, store: string): void {
  const names = [...root.getKeys()].map((key) => new TextDecoder().decode(key).replace(/\0$/, "")); // as C writes names
  if (names.length === 0) return;
  if (!names.includes("about") || !names.includes("entries")) {
    throw new SyncError("INVALID", `${folder} holds the database of another program`, {
      store,
      cure: "name another folder",
    });
  }
  const row = root.openDB<Uint8Array, Uint8Array>({ name: "about", ...ENCODING }).getBinary(FORMAT_KEY);
  const format = row === undefined ? FORMAT : Number(new TextDecoder().decode(row));
  if (format !== FORMAT) {
    const what = `${folder} is of format ${format}, this version of Sync knows ${FORMAT}`;
    throw new SyncError("CORRUPT", what, { store, cure: "use the version that wrote it; a cache can be removed" });
  }
}

export const FORMAT_ROW: Row = { key: FORMAT_KEY, value: new TextEncoder().encode(String(FORMAT)) };

function environment(
  root: RootDatabase<Uint8Array, Uint8Array>,
  databases: readonly Database<Uint8Array, Uint8Array>[],
  store: string,
): Environment {
  const staged = databases.map((database) => new StagedTable(database, store));
  const tables = Object.fromEntries(TABLES.map((name, i) => [name, staged[i]])) as unknown as Tables;
  const refresh = () => root.resetReadTxn();
  const commits = new Commits(databases[TABLES.indexOf("about")] as Database<Uint8Array, Uint8Array>, staged, refresh);
  return {
    tables,
    async transaction(body) {
      try {
        return await commits.transaction(body);
      } catch (error) {
        throw lmdbFailure(await commitError(error), { store, operation: "write" });
      }
    },
    refresh,
    close: () => root.close(),
  };
}

/** lmdb hides the reason of a failed commit in a promise that rejects with it. */
async function commitError(error: unknown): Promise<unknown> {
  if (!(error instanceof Error) || !("commitError" in error)) return error;
  try {
    await error.commitError;
    return error;
  } catch (reason) {
    return reason;
  }
}

async function statOf(path: string) {
  try {
    return await stat(path);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  }
}
