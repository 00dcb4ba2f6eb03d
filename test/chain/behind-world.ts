import { layer } from "../../src/chain/layer.ts";
import type { Chain, ChainOptions } from "../../src/chain/chain.ts";
import type { LayerOptions } from "../../src/chain/layer.ts";
import { openJournal } from "../../src/journal/open.ts";
import type { JournalOptions } from "../../src/journal/contract.ts";
import type { SimulatedFiles } from "../../src/testing/files.ts";
import { simulatedFiles } from "../../src/testing/files.ts";
import type { Supports, Write, WriteResult } from "../../src/store.ts";
import { referenceState } from "../../src/testing/index.ts";
import type { ReferenceState } from "../../src/testing/index.ts";
import { outcomeOf, world } from "./world.ts";
import type { UnrulyStore } from "./world.ts";

const SQL = { durable: true, shared: true };
const GIT = { durable: true, shared: true, conditional: false, stubs: false };

export interface BehindWorldOptions {
  readonly journal?: Partial<Omit<JournalOptions, "files" | "runtime">>;
  readonly chain?: Partial<ChainOptions>;
  readonly sql?: LayerOptions;
  readonly git?: LayerOptions;
  readonly gitSupports?: Partial<Supports>;
  /** A shared cache between memory and sql. */
  readonly etcd?: LayerOptions;
  readonly memoryEntriesMax?: number;
}

/** What a store was given, call by call. */
export interface Sent {
  readonly keys: readonly string[];
  readonly texts: readonly (string | null)[];
  readonly atMs: number;
}

/** Memory, perhaps etcd, sql (which decides) and git, behind a journal on a simulated disk; it can be started again. */
export async function behindWorld(options: BehindWorldOptions = {}) {
  const w = await world();
  const states: Record<string, ReferenceState> = {
    etcd: referenceState(),
    sql: referenceState(),
    git: referenceState(),
  };
  const sent: Record<string, Sent[]> = { etcd: [], sql: [], git: [] };
  let files: SimulatedFiles = simulatedFiles({ seed: 1 });
  let stores: Record<string, UnrulyStore> = {};

  const watched = (name: string, supports: Partial<Supports>): UnrulyStore => {
    const store = w.store(name, supports, states[name]);
    const write = store.write.bind(store);
    store.write = (writes: readonly Write[], call): Promise<WriteResult[]> => {
      const keys = writes.map(({ entry }) => entry.key);
      const texts = writes.map(({ entry }) => (entry.value === null ? null : new TextDecoder().decode(entry.value)));
      sent[name]?.push({ keys, texts, atMs: w.runtime.monotonic() });
      return write(writes, call);
    };
    stores[name] = store;
    return store;
  };

  const start = async (more: BehindWorldOptions = {}): Promise<Chain> => {
    stores = {};
    const all = { ...options, ...more };
    const journal = await openJournal({ files, runtime: w.runtime, ...all.journal });
    const memory = w.memory(all.memoryEntriesMax === undefined ? {} : { entriesMax: all.memoryEntriesMax });
    return w.open(
      [
        layer(memory, { name: "memory" }),
        ...(all.etcd === undefined ? [] : [layer(watched("etcd", { shared: true }), { name: "etcd", ...all.etcd })]),
        layer(watched("sql", SQL), { name: "sql", role: "store", bootstrap: false, ...all.sql }),
        layer(watched("git", { ...GIT, ...all.gitSupports }), { name: "git", ...all.git }),
      ],
      { collectIntervalMs: 0, ...all.chain, journal },
    );
  };

  return {
    ...w,
    start,
    sent,
    store: (name: "etcd" | "sql" | "git"): UnrulyStore => stores[name] as UnrulyStore,
    /** The text a store has of a key; null for a tombstone, undefined for nothing. */
    has(name: "etcd" | "sql" | "git", key: string): string | null | undefined {
      const entry = states[name]?.copies.get(key)?.entry;
      if (entry === undefined) return undefined;
      return entry.value === null ? null : new TextDecoder().decode(entry.value);
    },
    states,
    files: () => files,
    /** The process ends at once; what it had on disk stays. */
    kill() {
      files = files.kill();
    },
    set: (chain: Chain, key: string, text: string, ack?: string) =>
      chain.write([w.write(w.value(key, text))], ack === undefined ? {} : { ack }),
    delete: (chain: Chain, key: string) => chain.write([w.write(w.tombstone(key))]),
    /** Lets a promise come to its end in simulated time. */
    async during<T>(work: Promise<T>, ms = 60_000): Promise<T> {
      const outcome = outcomeOf(work);
      await w.runtime.settle();
      for (let passed = 0; !outcome.done && passed < ms; passed += 50) await w.runtime.advance(50);
      return work;
    },
  };
}
