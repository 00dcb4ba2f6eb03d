import { ENTRIES_MAX, TTL_MS } from "./candidate.ts";
import type { Candidate } from "./candidate.ts";
import { peer } from "./peer.ts";
import type { Second } from "./second.ts";

interface Bento {
  get(options: { key: string }): Promise<unknown>;
  set(options: { key: string; value: object }): Promise<boolean>;
  delete(options: { key: string }): Promise<boolean>;
  getOrSet(options: { key: string; factory: () => Promise<object> }): Promise<unknown>;
  disconnectAll(): Promise<void>;
}

interface Stack {
  useL1Layer(driver: unknown): Stack;
  useL2Layer(driver: unknown): Stack;
}

interface Module {
  BentoCache: new (options: object) => Bento;
  bentostore: () => Stack;
}

interface Drivers {
  memoryDriver: (options: object) => unknown;
}

/** The second layer as a driver: https://bentocache.dev/docs/custom-cache-driver. */
function driverOf(second: Second) {
  const driver = {
    type: "l2",
    namespace: () => driver,
    get: (key: string) => second.get(key),
    async pull(key: string) {
      const value = await second.get(key);
      await second.delete([key]);
      return value;
    },
    async set(key: string, value: string) {
      await second.set(key, value);
      return true;
    },
    clear: async () => {},
    delete: (key: string) => second.delete([key]),
    deleteMany: (keys: string[]) => second.delete(keys),
    disconnect: async () => {},
  };
  return { options: {}, factory: () => driver };
}

export const bentocacheCandidate: Candidate = {
  name: "bentocache",
  package: "bentocache",
  nodeMin: 20,
  layers: "two",
  ack: "both layers",
  async open(second, far) {
    const { BentoCache, bentostore } = await peer<Module>("bentocache");
    const { memoryDriver } = await peer<Drivers>("bentocache/drivers/memory");
    // Its memory is faster with `serialize: false`, but then 1.6.1 throws on what came from the second layer.
    const near = bentostore().useL1Layer(memoryDriver({ maxItems: ENTRIES_MAX }));
    const stack = far ? near.useL2Layer(driverOf(second)) : near;
    const bento = new BentoCache({ default: "cache", stores: { cache: stack }, ttl: TTL_MS });
    return {
      get: (key) => bento.get({ key }),
      set: (key, value) => bento.set({ key, value }),
      delete: (key) => bento.delete({ key }),
      getOrSet: (key, factory) => bento.getOrSet({ key, factory }),
      close: () => bento.disconnectAll(),
    };
  },
};
