import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { SyncError } from "../error.ts";
import { askForHops } from "../node/server/hops.ts";
import { http } from "../stores/http.ts";
import type { OpenContext, Opened } from "./schemes.ts";
import type { StoreUrl } from "./url.ts";
import type { OptionValue } from "./values.ts";

/** Nothing is created by opening, so that there is nothing to take back. */
export async function openHttp(
  url: StoreUrl,
  values: ReadonlyMap<string, OptionValue>,
  { runtime, report, base }: OpenContext,
): Promise<Opened> {
  const number = (name: string) => values.get(name) as number | undefined;
  const name = values.get("name") as string | undefined;
  const store = await http(`${url.scheme}:${url.place}`, {
    runtime,
    token: tokenFor(url, values.get("token") as string | undefined),
    ca: await authorityFor(url, values.get("ca") as string | undefined, base),
    timeoutMs: number("timeout"),
    helloMs: number("hello"),
    heartbeatMs: number("heartbeat"),
    connectionsMax: number("connections"),
    via: askForHops(),
    onReport: (message) => report({ kind: "store", layer: name ?? "http", message }),
  });
  return { store };
}

/** What opens the node's door: the URL's user or option, else the environment's MICROSYNC_TOKEN. */
function tokenFor({ place }: StoreUrl, option: string | undefined): string | undefined {
  if (option !== undefined) return option;
  const hasOwn = /^\/\/[^/]*@/.test(place);
  const fromEnvironment = process.env["MICROSYNC_TOKEN"];
  return hasOwn || fromEnvironment === "" ? undefined : fromEnvironment;
}

/** Whose certificates are trusted: the file that the URL names, else the environment's MICROSYNC_CA; in PEM. */
async function authorityFor(url: StoreUrl, option: string | undefined, base: string): Promise<string | undefined> {
  const file = option ?? (process.env["MICROSYNC_CA"] || undefined);
  if (url.scheme !== "https" || file === undefined) return undefined;
  const path = resolve(base, file);
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    const cure = "name a file of certificates in PEM by the option ca, or by MICROSYNC_CA";
    throw new SyncError("INVALID", `${url.text}: the authority's file ${path} cannot be read`, { cure, cause });
  }
}
