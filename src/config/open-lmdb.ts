import { resolve } from "node:path";
import { SyncError } from "../error.ts";
import { lmdb } from "../stores/lmdb.ts";
import { rememberMissing } from "./folders.ts";
import type { OpenContext, Opened } from "./schemes.ts";
import type { StoreUrl } from "./url.ts";
import type { OptionValue } from "./values.ts";

/** What a database leaves in its folder. */
const FILES = ["data.mdb", "lock.mdb"];

export async function openLmdb(
  url: StoreUrl,
  values: ReadonlyMap<string, OptionValue>,
  { runtime, base }: OpenContext,
): Promise<Opened> {
  if (url.place === "") {
    const cure = "name a folder, as in lmdb:./.sync/cache";
    throw new SyncError("INVALID", `${url.text}: no folder is named`, { cure });
  }
  const folder = resolve(base, url.place);
  const missing = await rememberMissing(folder, FILES);
  try {
    const store = await lmdb(folder, {
      runtime,
      bytesMax: values.get("bytesMax") as number | undefined,
      create: values.get("create") as boolean | undefined,
    });
    return { store, undo: () => missing.remove() };
  } catch (error) {
    await missing.remove();
    throw error;
  }
}
