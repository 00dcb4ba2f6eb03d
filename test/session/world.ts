import { expect } from "vitest";
import { NO_META } from "../../src/entry.ts";
import type { Entry } from "../../src/entry.ts";
import { diff } from "../../src/session/index.ts";
import type { SessionOptions } from "../../src/session/index.ts";
import type { Listed, Store } from "../../src/store.ts";
import { memory } from "../../src/stores/memory.ts";
import { systemRuntime as runtime } from "../../src/system.ts";
import { formatVersion } from "../../src/version.ts";

export const store = (name = "memory"): Store => memory({ runtime, name });

export function entry(key: string, at: number, text = "x", more: Partial<Entry> = {}): Entry {
  const version = formatVersion(1.7e12 + at, 0, "0".repeat(16));
  const value = new TextEncoder().encode(text);
  return { key, state: "value", value, version, expires: null, meta: NO_META, ...more };
}

export function tombstone(key: string, at: number): Entry {
  return entry(key, at, "", { state: "deleted", value: null });
}

export async function put(to: Store, ...entries: readonly Entry[]): Promise<void> {
  for (let at = 0; at < entries.length; at += to.supports.batchMax) {
    const batch = entries.slice(at, at + to.supports.batchMax);
    const results = await to.write(batch.map((item) => ({ entry: item, asOf: 0 })));
    expect(results.filter(({ status }) => status !== "stored")).toEqual([]);
  }
}

/** The values of a store as texts. */
export async function textsOf(from: Store): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for await (const item of from.list({ prefix: "" }, { detail: "values" })) {
    if (item.kind === "entry" && item.value !== null) found[item.key] = new TextDecoder().decode(item.value);
  }
  return found;
}

export async function diffOf(from: Store, to: Store, options: SessionOptions = {}): Promise<string> {
  const lines: string[] = [];
  for await (const { symbol, key } of diff(from, to, options)) lines.push(`${symbol}${key}`);
  return lines.join(" ");
}

/** A store whose verbs may be replaced. */
export function faulty(inner: Store, faults: Partial<Pick<Store, "read" | "write" | "list">>): Store {
  return {
    name: inner.name,
    supports: inner.supports,
    read: faults.read ?? ((keys, options) => inner.read(keys, options)),
    write: faults.write ?? ((writes, options) => inner.write(writes, options)),
    forget: (items, options) => inner.forget(items, options),
    list: faults.list ?? ((range, options): AsyncIterable<Listed> => inner.list(range, options)),
    watch: (range, options) => inner.watch(range, options),
    close: () => inner.close(),
  };
}
