import { ENTRIES_MAX, TTL_MS } from "./candidate.ts";
import type { Candidate } from "./candidate.ts";
import { peer } from "./peer.ts";
import type { Second } from "./second.ts";

interface Loader {
  get(key: string): Promise<unknown>;
  getMany(keys: string[]): Promise<unknown>;
  getInMemoryOnly(key: string): unknown;
  forceSetValue(key: string, value: object): Promise<void>;
  invalidateCacheFor(key: string): Promise<void>;
}

interface Module {
  Loader: new (options: object) => Loader;
}

/** As its own cache for Redis with `json: true`: a server holds texts, no objects of this process. */
function cacheOf(second: Second) {
  return {
    get: async (key: string) => parsed(await second.get(key)),
    async getMany(keys: string[]) {
      const values = (await second.getMany(keys)).map(parsed);
      const isThere = (_: string, i: number) => values[i] !== undefined;
      return {
        resolvedValues: values.filter((value) => value !== undefined),
        unresolvedKeys: keys.filter((key, i) => !isThere(key, i)),
      };
    },
    set: (key: string, value: unknown) => second.set(key, JSON.stringify(value)),
    setMany: (entries: { key: string; value: unknown }[]) =>
      second.change(
        entries.map(({ key, value }) => {
          const text = JSON.stringify(value);
          return [key, () => text];
        }),
      ),
    delete: (key: string) => second.delete([key]),
    deleteMany: (keys: string[]) => second.delete(keys),
    clear: async () => {},
    close: async () => {},
  };
}

function parsed(text: unknown): unknown {
  return typeof text === "string" ? JSON.parse(text) : undefined;
}

const SILENT = { error: () => {}, warn: () => {}, info: () => {}, debug: () => {}, trace: () => {}, fatal: () => {} };

export const layeredLoaderCandidate: Candidate = {
  name: "layered-loader",
  package: "layered-loader",
  nodeMin: 22,
  layers: "two",
  ack: "both layers",
  async open(second, far) {
    const { Loader } = await peer<Module>("layered-loader/core");
    let loadNow: (() => Promise<object>) | undefined;
    const loader = new Loader({
      inMemoryCache: { cacheType: "lru-map", ttlInMsecs: TTL_MS, maxItems: ENTRIES_MAX },
      ...(far ? { asyncCache: cacheOf(second) } : {}),
      // The sources are part of a loader, not of a call.
      dataSourceGetOneFn: async () => loadNow?.(),
      cacheKeyFromValueResolver: ({ key }: { key: string }) => key,
      logger: SILENT,
    });
    return {
      get: (key) => loader.get(key),
      peek: (key) => loader.getInMemoryOnly(key),
      set: (key, value) => loader.forceSetValue(key, value),
      delete: (key) => loader.invalidateCacheFor(key),
      getMany: (keys) => loader.getMany(keys),
      getOrSet(key, load) {
        loadNow = load;
        return loader.get(key);
      },
      close: async () => {},
    };
  },
};
