import { resolve } from "node:path";
import { SyncError } from "../error.ts";
import { file } from "../stores/file.ts";
import { rememberMissing } from "./folders.ts";
import type { OpenContext, Opened } from "./schemes.ts";
import type { StoreUrl } from "./url.ts";
import type { OptionValue } from "./values.ts";

export async function openFile(
  url: StoreUrl,
  values: ReadonlyMap<string, OptionValue>,
  { runtime, base }: OpenContext,
): Promise<Opened> {
  if (url.place === "") {
    const cure = "name a folder, as in file:./data";
    throw new SyncError("INVALID", `${url.text}: no folder is named`, { cure });
  }
  const folder = resolve(base, url.place);
  const missing = await rememberMissing(folder, []);
  try {
    const store = await file(folder, {
      runtime,
      create: values.get("create") as boolean | undefined,
      durable: values.get("durable") as boolean | undefined,
      readonly: values.get("readonly") as boolean | undefined,
    });
    return { store, undo: () => missing.remove() };
  } catch (error) {
    await missing.remove();
    throw error;
  }
}
