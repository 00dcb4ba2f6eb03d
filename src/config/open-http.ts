import { currentHops } from "../node/server/hops.ts";
import { http } from "../stores/http.ts";
import type { OpenContext, Opened } from "./schemes.ts";
import type { StoreUrl } from "./url.ts";
import type { OptionValue } from "./values.ts";

/** Nothing is created by opening, so that there is nothing to take back. */
export async function openHttp(
  url: StoreUrl,
  values: ReadonlyMap<string, OptionValue>,
  { runtime, report }: OpenContext,
): Promise<Opened> {
  const number = (name: string) => values.get(name) as number | undefined;
  const name = values.get("name") as string | undefined;
  const store = await http(`${url.scheme}:${url.place}`, {
    runtime,
    token: tokenFor(url, values.get("token") as string | undefined),
    timeoutMs: number("timeout"),
    helloMs: number("hello"),
    heartbeatMs: number("heartbeat"),
    connectionsMax: number("connections"),
    via: currentHops,
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
