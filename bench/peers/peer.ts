import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const FOLDER = "bench/peers";

/** A peer's module. Its own types are not asked for: checking this project must not need the peers installed. */
export async function peer<T>(name: string): Promise<T> {
  const { load } = (await import(pathToFileURL(resolve(FOLDER, "load.js")).href)) as {
    readonly load: (name: string) => Promise<T>;
  };
  return load(name);
}
