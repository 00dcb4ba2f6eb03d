import { ENTRIES_MAX } from "./candidate.ts";
import type { Candidate } from "./candidate.ts";
import { peer } from "./peer.ts";

interface Lru {
  get(key: string): unknown;
  set(key: string, value: unknown): unknown;
  fetch(key: string): Promise<unknown>;
}

interface Module {
  LRUCache: new (options: object) => Lru;
}

/** Memory alone, made asynchronous for comparison; its `fetch` reads through to the second layer, and writes nothing there. */
export const lruCacheCandidate: Candidate = {
  name: "lru-cache",
  package: "lru-cache",
  nodeMin: 20,
  layers: "memory",
  ack: "memory alone",
  async open(second) {
    const { LRUCache } = await peer<Module>("lru-cache");
    const cache = new LRUCache({ max: ENTRIES_MAX, fetchMethod: (key: string) => second.get(key) });
    return {
      get: async (key) => cache.get(key),
      peek: (key) => cache.get(key),
      set: (key, value) => cache.set(key, value),
      through: (key) => cache.fetch(key),
      close: async () => {},
    };
  },
};
