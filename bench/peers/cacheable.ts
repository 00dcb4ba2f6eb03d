import { ENTRIES_MAX, TTL_MS } from "./candidate.ts";
import type { Candidate } from "./candidate.ts";
import { keyvStore } from "./keyv-store.ts";
import { peer } from "./peer.ts";

interface Cacheable {
  get(key: string): Promise<unknown>;
  getMany(keys: string[]): Promise<unknown>;
  set(key: string, value: object): Promise<boolean>;
  delete(key: string): Promise<boolean>;
  getOrSet(key: string, load: () => Promise<object>): Promise<unknown>;
  on(event: string, told: () => void): void;
  disconnect(): Promise<void>;
}

interface Module {
  Cacheable: new (options: object) => Cacheable;
  createKeyv: (options: object) => unknown;
}

export const cacheableCandidate: Candidate = {
  name: "cacheable",
  package: "cacheable",
  nodeMin: 20,
  layers: "two",
  ack: "both layers",
  async open(second, far) {
    const { Cacheable, createKeyv } = await peer<Module>("cacheable");
    const primary = createKeyv({ ttl: TTL_MS, lruSize: ENTRIES_MAX });
    const cache = new Cacheable(far ? { primary, secondary: keyvStore(second) } : { primary });
    cache.on("error", () => {}); // as its documentation has it: errors are events
    return {
      get: (key) => cache.get(key),
      set: (key, value) => cache.set(key, value),
      delete: (key) => cache.delete(key),
      getMany: (keys) => cache.getMany(keys),
      getOrSet: (key, load) => cache.getOrSet(key, load),
      close: () => cache.disconnect(),
    };
  },
};
