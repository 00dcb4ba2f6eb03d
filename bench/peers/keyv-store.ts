import type { Second } from "./second.ts";

/** The second layer as a storage adapter of Keyv, which three of the peers take. */
export function keyvStore(second: Second) {
  return {
    opts: { url: "" },
    namespace: undefined,
    get: (key: string) => second.get(key),
    getMany: (keys: string[]) => second.getMany(keys),
    async set(key: string, value: unknown) {
      await second.set(key, value);
      return true;
    },
    async setMany(entries: { key: string; value: unknown }[]) {
      await second.change(entries.map(({ key, value }) => [key, () => value]));
      return entries.map(() => true);
    },
    delete: (key: string) => second.delete([key]),
    async deleteMany(keys: string[]) {
      await second.delete(keys);
      return keys.map(() => true);
    },
    clear: async () => {},
    has: async (key: string) => (await second.get(key)) !== undefined,
    hasMany: async (keys: string[]) => (await second.getMany(keys)).map((value) => value !== undefined),
    disconnect: async () => {},
    on: () => {},
  };
}
