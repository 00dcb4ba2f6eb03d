import { TTL_MS } from "./candidate.ts";
import type { Candidate } from "./candidate.ts";
import { keyvStore } from "./keyv-store.ts";
import { peer } from "./peer.ts";

interface Keyv {
  get(key: string): Promise<unknown>;
  getMany(keys: string[]): Promise<unknown>;
  set(key: string, value: object): Promise<boolean>;
  delete(key: string): Promise<boolean>;
  disconnect(): Promise<void>;
}

interface Module {
  Keyv: new (options: object) => Keyv;
}

export const keyvCandidate: Candidate = {
  name: "keyv",
  package: "keyv-6",
  nodeMin: 22,
  layers: "either",
  ack: "its one store",
  async open(second, far) {
    const { Keyv } = await peer<Module>("keyv-6");
    // Its own memory is a Map without a limit: the LRU cache that its documentation shows takes other arguments by now.
    const cache = new Keyv(far ? { store: keyvStore(second), ttl: TTL_MS } : { ttl: TTL_MS });
    return {
      get: (key) => cache.get(key),
      set: (key, value) => cache.set(key, value),
      delete: (key) => cache.delete(key),
      getMany: (keys) => cache.getMany(keys),
      close: () => cache.disconnect(),
    };
  },
};
