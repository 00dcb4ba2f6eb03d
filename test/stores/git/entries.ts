import { NO_META } from "../../../src/entry.ts";
import type { Entry, Meta } from "../../../src/entry.ts";
import type { Answer, Change, ListOptions, Store, Write } from "../../../src/store.ts";
import { formatVersion } from "../../../src/version.ts";
import type { Version } from "../../../src/version.ts";

const NODE = "00112233aabbccdd";
let issued = 0;

/** Above all it gave before, an hour behind the clock. */
export function nextVersion(): Version {
  return formatVersion(Date.now() - 3_600_000 + issued++, 0, NODE);
}

export function value(key: string, text: string, version = nextVersion(), meta: Meta = NO_META): Entry {
  return { key, state: "value", value: new TextEncoder().encode(text), version, expires: null, meta };
}

export function tombstone(key: string, version = nextVersion()): Entry {
  return { key, state: "deleted", value: null, version, expires: null, meta: NO_META };
}

export function writes(entries: readonly Entry[]): Write[] {
  return entries.map((entry) => ({ entry, asOf: 0 }));
}

/** Fails unless every entry was stored. */
export async function put(store: Store, ...entries: readonly Entry[]): Promise<void> {
  const results = await store.write(writes(entries));
  for (const result of results)
    if (result.status !== "stored") throw new Error(`not stored: ${JSON.stringify(result)}`);
}

export async function one(store: Store, key: string): Promise<Answer> {
  const [answer] = await store.read([key], { authority: true });
  if (answer === undefined) throw new Error("no answer");
  return answer;
}

export async function textOf(store: Store, key: string): Promise<string | undefined> {
  const { entry } = await one(store, key);
  return entry?.value === null || entry === undefined ? undefined : new TextDecoder().decode(entry.value);
}

export async function versionOf(store: Store, key: string): Promise<Version> {
  const { entry } = await one(store, key);
  if (entry === undefined) throw new Error(`${key} is not there`);
  return entry.version;
}

export async function keysOf(store: Store, prefix = "", options: ListOptions = {}): Promise<string[]> {
  const keys: string[] = [];
  for await (const item of store.list({ prefix }, options)) if (item.kind === "entry") keys.push(item.key);
  return keys;
}

/** The changes of a watch up to and with "current" or "relist". */
export async function told(store: Store, cursor: string | undefined): Promise<Change[]> {
  const changes: Change[] = [];
  for await (const change of store.watch({ prefix: "" }, { cursor })) {
    changes.push(change);
    if (change.kind !== "change") break;
  }
  return changes;
}
