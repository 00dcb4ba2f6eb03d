import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import type { Answer, Entry, Store, Supports, WriteResult } from "../../src/index.ts";
import type * as sync from "../../src/index.ts";
import { ENTRIES_MAX } from "./candidate.ts";
import type { Cache, Candidate } from "./candidate.ts";
import type { Second } from "./second.ts";

export type SyncModule = typeof sync;

/** Sync as its users get it: compiled, from the package's own door. */
export function syncModule(folder = "dist"): Promise<SyncModule> {
  return import(pathToFileURL(resolve(folder, "index.js")).href) as Promise<SyncModule>;
}

const SUPPORTS: Supports = {
  keyBytesMax: 512,
  valueBytesMax: Number.MAX_SAFE_INTEGER,
  streamBytesMax: 0,
  batchMax: 10_000,
  conditional: false,
  atomicBatch: false,
  stubs: false,
  watch: "poll",
  expiry: false,
  writers: "many",
  durable: false,
  shared: true,
  asOf: "stored",
  readonly: false,
};

/** The second layer as a store: it keeps the newest version of each key. */
export function secondStore({ compareEntries, STORED }: SyncModule, second: Second): Store {
  return {
    name: "second",
    supports: SUPPORTS,
    async read(keys): Promise<Answer[]> {
      const asOf = Date.now();
      const entries = (await second.getMany(keys)) as (Entry | undefined)[];
      return entries.map((entry) => ({ entry, asOf, complete: true, stale: false, from: "second" }));
    },
    async write(writes) {
      const results: WriteResult[] = [];
      await second.change(
        writes.map(({ entry }) => {
          const newer = (found: unknown) => {
            const held = found as Entry | undefined;
            const order = held === undefined ? 1 : compareEntries(entry, held);
            results.push(held !== undefined && order < 0 ? { status: "superseded", by: held.version } : STORED);
            return order > 0 ? entry : held;
          };
          return [entry.key, newer];
        }),
      );
      return results;
    },
    async forget(items) {
      await second.delete(items.map(({ key }) => key));
    },
    async *list({ prefix }) {
      for (const key of second.keys().filter((key) => key.startsWith(prefix))) {
        yield { kind: "entry", key, tag: "", head: null, value: null };
      }
    },
    async *watch() {},
    async close() {},
  };
}

export interface OpenSync {
  readonly module: SyncModule;
  readonly journal?: string;
}

/** Memory over the second layer, as `open` makes it. */
export async function openSync(second: Second, far: boolean, { module, journal }: OpenSync) {
  const { layer, memory, open } = module;
  const near = memory({ entriesMax: ENTRIES_MAX });
  const below = layer(secondStore(module, second), { watch: false });
  return open(far ? [near, below] : [layer(near, { role: "store" })], { clock: false, journal });
}

/** Sync as its users have it: itself, through a namespace, and with a journal. */
export function syncCandidates(load: () => Promise<SyncModule> = syncModule): readonly Candidate[] {
  const plain: Candidate = {
    name: "sync",
    package: "",
    nodeMin: 20,
    layers: "two",
    ack: "all layers",
    async open(second, far): Promise<Cache> {
      const db = await openSync(second, far, { module: await load() });
      return { ...callsOf(db), close: () => db.close() };
    },
  };
  const namespace: Candidate = {
    ...plain,
    name: "sync, namespace",
    async open(second, far): Promise<Cache> {
      const db = await openSync(second, far, { module: await load() });
      return { ...callsOf(db.namespace("tenants/acme/users/")), close: () => db.close() };
    },
  };
  const journal: Candidate = {
    ...plain,
    name: "sync, journal",
    ack: "the journal",
    unmeasured: true,
    async open(second): Promise<Cache> {
      const folder = mkdtempSync(join(tmpdir(), "microsync-bench-"));
      const db = await openSync(second, true, { module: await load(), journal: join(folder, "journal") });
      return {
        ...callsOf(db),
        settle: () => db.flush(),
        async close() {
          await db.close();
          rmSync(folder, { recursive: true });
        },
      };
    },
  };
  return [plain, namespace, journal];
}

function callsOf(db: sync.Sync): Omit<Cache, "close"> {
  return {
    get: (key) => db.get(key),
    peek: (key) => db.peek(key),
    set: (key, value) => db.set(key, value),
    delete: (key) => db.delete(key),
    getMany: (keys) => db.getMany(keys),
    getOrSet: (key, load) => db.getOrSet(key, load),
  };
}
