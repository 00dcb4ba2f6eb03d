import { SyncError } from "../error.ts";
import type { Layer, LayerSpec } from "./layer.ts";

/** Tombstones are kept for 30 days: what comes back later than that is refused, so copies must not live that long. */
export const RETENTION_MS = 30 * 24 * 3_600_000;

/**
 * The layers of a chain with every option decided.
 * @throws SyncError INVALID for layers that cannot work together.
 */
export function decideLayers(specs: readonly LayerSpec[], retentionMs: number): readonly Layer[] {
  if (specs.length === 0) {
    throw new SyncError("INVALID", "a chain needs at least one layer", { cure: 'for example "memory:"' });
  }
  const names = new Set<string>();
  const decided = specs.map((spec, index) => decide(spec, index === specs.length - 1, names));
  const layers = decided.map((layer, index) => {
    const bootstrap = specs[index]?.options.bootstrap ?? canBootstrap(layer, decided.slice(index + 1));
    return { ...layer, bootstrap };
  });
  checkRoles(layers);
  for (const { name, ttlMs, graceMs, role } of layers) {
    if (role === "cache" && ttlMs + graceMs >= retentionMs) {
      const what = `ttl + grace (${ttlMs + graceMs} ms) of layer ${name} reaches the retention (${retentionMs} ms)`;
      throw new SyncError("INVALID", what, {
        cure: "shorten ttl or grace: older copies could bring deleted keys back",
      });
    }
  }
  return layers;
}

function decide({ store, options }: LayerSpec, isLast: boolean, names: Set<string>): Layer {
  const { supports } = store;
  const role = options.role ?? (isLast ? "store" : "cache");
  const readonly = options.readonly ?? supports.readonly;
  return {
    store,
    name: nameFor(options.name, store.name, names),
    role,
    readonly,
    ttlMs: options.ttlMs ?? 60_000,
    jitter: options.jitter ?? 0.1,
    graceMs: options.graceMs ?? 300_000,
    staleWhileRefresh: options.staleWhileRefresh ?? false,
    valueBytesMax: Math.min(options.valueBytesMax ?? Number.POSITIVE_INFINITY, supports.valueBytesMax),
    streamBytesMax: Math.min(options.valueBytesMax ?? Number.POSITIVE_INFINITY, supports.streamBytesMax),
    onWrite: options.onWrite ?? "update",
    prefixes: options.prefixes ?? [],
    watch: options.watch ?? (role === "store" && supports.shared),
    bootstrap: options.bootstrap ?? false,
    watchIntervalMs: options.watchIntervalMs ?? 1_000,
    flushIntervalMs: options.flushIntervalMs,
    flushDelayMsMax: options.flushDelayMsMax,
    flushEntriesMax: Math.max(1, options.flushEntriesMax ?? 10_000),
    flushBytesMax: options.flushBytesMax ?? 16 * 2 ** 20,
    budget: options.budget,
    deadlineMs: options.deadlineMs ?? (role === "cache" ? 2_000 : 10_000),
    breakerFailures: options.breakerFailures ?? 5,
    breakerMs: options.breakerMs ?? 5_000,
  };
}

/** The name asked for, or the store's, numbered when there are several. */
function nameFor(wanted: string | undefined, storeName: string, names: Set<string>): string {
  let name = wanted ?? storeName;
  if (wanted !== undefined && names.has(wanted)) {
    throw new SyncError("INVALID", `two layers are named ${JSON.stringify(wanted)}`, {
      cure: "give each its own name",
    });
  }
  for (let n = 2; names.has(name); n++) name = `${storeName}-${n}`;
  names.add(name);
  return name;
}

function checkRoles(layers: readonly Layer[]): void {
  const last = layers.at(-1);
  if (last?.role !== "store") {
    throw new SyncError("INVALID", `the last layer, ${last?.name}, is a cache: nothing would be the source of truth`, {
      cure: "give it the role store, or add a store below it",
    });
  }
  for (const [index, above] of layers.entries()) {
    const stores = layers.slice(index + 1).filter((layer) => layer.role === "store");
    if (above.bootstrap && !canBootstrap(above, stores)) throw notBootstrapped(above, stores);
    if (above.role === "cache" && !above.store.supports.stubs) {
      throw new SyncError("INVALID", `layer ${above.name} takes no stubs and so cannot be a cache`, {
        cure: "give it the role store",
      });
    }
    const below = layers.slice(index + 1).find((layer) => !layer.readonly && layer.role === "store");
    if (above.role === "store" && above.readonly && above.prefixes.length === 0 && below !== undefined) {
      const what = `the read-only layer ${above.name} stands above ${below.name}, which takes writes`;
      throw new SyncError("INVALID", `${what}: new values would never be seen`, {
        cure: "put the read-only layer last, or give it prefixes of its own",
      });
    }
  }
}

/** Whether everything that the layers below hold can be carried into this one, and kept up. */
function canBootstrap({ role, readonly, prefixes }: Layer, below: readonly Layer[]): boolean {
  const stores = below.filter((layer) => layer.role === "store");
  if (role === "cache" || readonly || prefixes.length > 0 || stores.length === 0) return false;
  return stores.every((layer) => layer.watch);
}

function notBootstrapped({ name }: Layer, stores: readonly Layer[]): SyncError {
  const blind = stores.find((layer) => !layer.watch);
  if (blind !== undefined) {
    return new SyncError("INVALID", `layer ${name} cannot be complete: ${blind.name} below it is not watched`, {
      cure: `watch ${blind.name}, or leave bootstrap out`,
    });
  }
  return new SyncError("INVALID", `layer ${name} cannot be given everything that is below it`, {
    cure: "bootstrap is for a store that takes writes of all keys and has stores below it",
  });
}

/**
 * The layer that decides conditional writes: the nearest shared store that can, else the nearest store that can; -1
 * when none can.
 */
export function authorityOf(layers: readonly Layer[]): number {
  const can = ({ role, readonly, store }: Layer) => role === "store" && !readonly && store.supports.conditional;
  const shared = layers.findIndex((layer) => can(layer) && layer.store.supports.shared);
  return shared === -1 ? layers.findIndex(can) : shared;
}

/** The layer that takes writes first: the authority, or without one the deepest store that takes writes; -1: none. */
export function firstOf(layers: readonly Layer[]): number {
  const authority = authorityOf(layers);
  return authority === -1 ? layers.findLastIndex(({ role, readonly }) => role === "store" && !readonly) : authority;
}
