import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "vitest";
import type { Entry } from "../../../src/entry.ts";
import type { Listed, Store } from "../../../src/store.ts";
import { file } from "../../../src/stores/file.ts";
import type { FileOptions } from "../../../src/stores/file.ts";
import { metaOfKey } from "../../../src/stores/git-layout/kind.ts";
import { systemRuntime as runtime } from "../../../src/system.ts";
import { formatVersion } from "../../../src/version.ts";

/** A folder that is gone after the test, and the stores on it. */
export function scratch() {
  const folder = mkdtempSync(join(tmpdir(), "microsync-file-"));
  const opened: Store[] = [];
  return {
    folder,
    path: (...names: string[]) => join(folder, ...names),
    async open(options: FileOptions = {}): Promise<Store> {
      const store = await file(folder, { runtime, ...options });
      opened.push(store);
      return store;
    },
    async remove(): Promise<void> {
      for (const store of opened) await store.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

export function entry(key: string, at: number, text: string, more: Partial<Entry> = {}): Entry {
  const version = formatVersion(1.7e12 + at, 0, "0".repeat(16));
  const value = new TextEncoder().encode(text);
  return { key, state: "value", value, version, expires: null, meta: metaOfKey(key), ...more };
}

export function tombstone(key: string, at: number): Entry {
  return entry(key, at, "", { state: "deleted", value: null, meta: {} });
}

export async function put(store: Store, ...entries: readonly Entry[]): Promise<void> {
  const results = await store.write(entries.map((item) => ({ entry: item, asOf: 0 })));
  expect(results.filter(({ status }) => status !== "stored")).toEqual([]);
}

export async function get(store: Store, key: string): Promise<Entry | undefined> {
  return (await store.read([key]))[0]?.entry;
}

export async function textOf(store: Store, key: string): Promise<string | undefined> {
  const found = await get(store, key);
  return found?.value ? new TextDecoder().decode(found.value) : found?.state;
}

export async function listOf(store: Store, prefix = ""): Promise<Extract<Listed, { kind: "entry" }>[]> {
  const items: Extract<Listed, { kind: "entry" }>[] = [];
  for await (const item of store.list({ prefix }, { detail: "entries" })) if (item.kind === "entry") items.push(item);
  return items;
}

/** Every file of a folder, but what Sync keeps for itself, with its content. */
export function filesOf(folder: string, below = ""): Record<string, string> {
  const found: Record<string, string> = {};
  for (const item of readdirSync(join(folder, below), { withFileTypes: true })) {
    const path = below === "" ? item.name : `${below}/${item.name}`;
    if (path === ".microsync") continue;
    if (item.isDirectory()) Object.assign(found, filesOf(folder, path));
    else found[path] = readFileSync(join(folder, path), "utf8");
  }
  return found;
}
