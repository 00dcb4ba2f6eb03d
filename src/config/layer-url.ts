import { layer } from "../chain/layer.ts";
import type { LayerOptions, LayerSpec, Role } from "../chain/layer.ts";
import { SyncError, asSyncError } from "../error.ts";
import { schemeOf } from "./schemes.ts";
import type { OpenContext, Opened, Scheme, Schemes } from "./schemes.ts";
import { parseUrl, readOptions } from "./url.ts";
import type { StoreUrl } from "./url.ts";
import type { OptionKind, OptionValue } from "./values.ts";

/** The options that a URL may give of every layer. */
const LAYER_OPTIONS: Readonly<Record<string, OptionKind>> = {
  name: "text",
  role: ["cache", "store"],
  ttl: "duration",
  jitter: "share",
  grace: "duration",
  staleWhileRefresh: "flag",
  valueBytesMax: "size",
  onWrite: ["update", "invalidate"],
  prefix: "texts",
  readonly: "flag",
  watch: "flag",
  watchInterval: "duration",
  bootstrap: "flag",
  flushInterval: "duration",
  flushDelay: "duration",
  flushEntriesMax: "count",
  flushBytesMax: "size",
  deadline: "duration",
  breakerFailures: "count",
  breakerPause: "duration",
};

/** A layer's URL with every option read, before anything is opened. */
export interface LayerPlan {
  readonly url: StoreUrl;
  readonly durable: boolean;
  readonly role: Role;
  /** The URL says that nothing is written to it. */
  readonly readonly: boolean;
  open(context: OpenContext): Promise<Opened & { readonly spec: LayerSpec }>;
}

/**
 * @param last The last layer of a chain is a store, whatever its scheme is elsewhere.
 * @param overriding options that go before those of the URL.
 * @throws SyncError INVALID: everything that can be said without opening a store is said here.
 */
export function planLayer(
  text: string,
  schemes: Schemes,
  last: boolean,
  overriding: (given: ReadonlyMap<string, OptionValue>, scheme: Scheme) => ReadonlyMap<string, OptionValue> = () =>
    new Map(),
): LayerPlan {
  const url = parseUrl(text);
  const scheme = schemeOf(schemes, url);
  const given = readOptions(url, { ...LAYER_OPTIONS, ...scheme.options });
  const values = new Map([...given, ...overriding(given, scheme)]);
  const options = layerOptions(values, scheme.role, last);
  return {
    url,
    durable: scheme.durable,
    role: options.role ?? (last ? "store" : "cache"),
    readonly: options.readonly === true,
    async open(context) {
      const opened = await openNaming(url, () => scheme.open(url, values, context));
      return { ...opened, spec: layer(opened.store, { ...opened.layer, ...options }) };
    },
  };
}

/** A store's own error with the URL before it: a chain may have several stores of a kind. */
async function openNaming(url: StoreUrl, open: () => Promise<Opened>): Promise<Opened> {
  try {
    return await open();
  } catch (thrown) {
    const error = asSyncError(thrown);
    if (error.message.includes(url.text)) throw error;
    const { code, what, retryable, cure } = error;
    throw new SyncError(code, `${url.text}: ${what}`, { cure, retryable, cause: error });
  }
}

function layerOptions(values: ReadonlyMap<string, OptionValue>, role: Role, last: boolean): LayerOptions {
  const given: Partial<Record<keyof LayerOptions, OptionValue | undefined>> = {
    name: values.get("name"),
    role: values.get("role") ?? (last ? undefined : role),
    ttlMs: values.get("ttl"),
    jitter: values.get("jitter"),
    graceMs: values.get("grace"),
    staleWhileRefresh: values.get("staleWhileRefresh"),
    valueBytesMax: values.get("valueBytesMax"),
    onWrite: values.get("onWrite"),
    prefixes: values.get("prefix"),
    readonly: values.get("readonly"),
    watch: values.get("watch"),
    watchIntervalMs: values.get("watchInterval"),
    bootstrap: values.get("bootstrap"),
    flushIntervalMs: values.get("flushInterval"),
    flushDelayMsMax: values.get("flushDelay"),
    flushEntriesMax: values.get("flushEntriesMax"),
    flushBytesMax: values.get("flushBytesMax"),
    deadlineMs: values.get("deadline"),
    breakerFailures: values.get("breakerFailures"),
    breakerMs: values.get("breakerPause"),
  };
  // What is not said is left out, so that the layer's own default holds.
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
}
