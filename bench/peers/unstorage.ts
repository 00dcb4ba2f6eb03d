import { ENTRIES_MAX } from "./candidate.ts";
import type { Candidate } from "./candidate.ts";
import { peer } from "./peer.ts";
import type { Second } from "./second.ts";

interface Storage {
  getItem(key: string): Promise<unknown>;
  getItems(keys: string[]): Promise<unknown>;
  setItem(key: string, value: object): Promise<void>;
  removeItem(key: string): Promise<void>;
  dispose(): Promise<void>;
}

interface Module {
  createStorage: (options: object) => Storage;
}

interface LruDriver {
  default: (options: object) => object;
}

function driverOf(second: Second) {
  return {
    name: "second",
    hasItem: async (key: string) => (await second.get(key)) !== undefined,
    getItem: async (key: string) => (await second.get(key)) ?? null,
    async getItems(items: { key: string }[]) {
      const keys = items.map(({ key }) => key);
      const values = await second.getMany(keys);
      return keys.map((key, i) => ({ key, value: values[i] ?? null }));
    },
    setItem: (key: string, value: string) => second.set(key, value),
    removeItem: (key: string) => second.delete([key]),
    getKeys: async () => second.keys(),
  };
}

export const unstorageCandidate: Candidate = {
  name: "unstorage",
  package: "unstorage",
  nodeMin: 20,
  layers: "either",
  ack: "its one store",
  async open(second, far) {
    const { createStorage } = await peer<Module>("unstorage");
    const { default: lruDriver } = await peer<LruDriver>("unstorage/drivers/lru-cache");
    const storage = createStorage({ driver: far ? driverOf(second) : lruDriver({ max: ENTRIES_MAX }) });
    return {
      get: (key) => storage.getItem(key),
      set: (key, value) => storage.setItem(key, value),
      delete: (key) => storage.removeItem(key),
      getMany: (keys) => storage.getItems(keys),
      close: () => storage.dispose(),
    };
  },
};
