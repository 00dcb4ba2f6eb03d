import { etcd } from "../stores/etcd.ts";
import type { OpenContext, Opened } from "./schemes.ts";
import type { StoreUrl } from "./url.ts";
import type { OptionValue } from "./values.ts";

/** Nothing is created by opening, so that there is nothing to take back. */
export async function openEtcd(
  url: StoreUrl,
  values: ReadonlyMap<string, OptionValue>,
  { runtime, base }: OpenContext,
): Promise<Opened> {
  const number = (name: string) => values.get(name) as number | undefined;
  const text = (name: string) => values.get(name) as string | undefined;
  const store = await etcd(`${url.scheme}:${url.place}`, {
    runtime,
    folder: base,
    tls: values.get("tls") as boolean | undefined,
    ca: text("ca"),
    cert: text("cert"),
    key: text("key"),
    role: values.get("role") as "cache" | "store" | undefined,
    timeoutMs: number("timeout"),
    attemptMs: number("attempt"),
    keepAliveMs: number("keepAlive"),
    keepAliveTimeoutMs: number("keepAliveTimeout"),
    inFlightMax: number("inFlightMax"),
    requestBytesMax: number("requestBytesMax"),
    retentionMs: number("retention"),
    copyTtlMs: number("copyTtl"),
    bytesMax: number("bytesMax"),
    maintain: values.get("maintain") as boolean | undefined,
  });
  return { store };
}
