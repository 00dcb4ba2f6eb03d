import { ENTRIES_MAX, TTL_MS } from "./candidate.ts";
import type { Candidate } from "./candidate.ts";
import { keyvStore } from "./keyv-store.ts";
import { peer } from "./peer.ts";

interface Manager {
  get(key: string): Promise<unknown>;
  mget(keys: string[]): Promise<unknown>;
  set(key: string, value: object): Promise<unknown>;
  del(key: string): Promise<boolean>;
  wrap(key: string, load: () => Promise<object>): Promise<unknown>;
  disconnect(): Promise<unknown>;
}

interface Module {
  createCache: (options: object) => Manager;
}

/** Its documentation takes memory from `cacheable`, which has the Keyv of the same time. */
interface Stores {
  CacheableMemory: new (options: object) => object;
  Keyv: new (options: object) => object;
}

export const cacheManagerCandidate: Candidate = {
  name: "cache-manager",
  package: "cache-manager",
  nodeMin: 20,
  layers: "two",
  ack: "both layers",
  async open(second, far) {
    const { createCache } = await peer<Module>("cache-manager");
    const { CacheableMemory, Keyv } = await peer<Stores>("cacheable");
    const near = new Keyv({ store: new CacheableMemory({ ttl: TTL_MS, lruSize: ENTRIES_MAX }) });
    const cache = createCache({ stores: far ? [near, new Keyv({ store: keyvStore(second) })] : [near] });
    return {
      get: (key) => cache.get(key),
      set: (key, value) => cache.set(key, value),
      delete: (key) => cache.del(key),
      getMany: (keys) => cache.mget(keys),
      getOrSet: (key, load) => cache.wrap(key, load),
      close: () => cache.disconnect(),
    };
  },
};
