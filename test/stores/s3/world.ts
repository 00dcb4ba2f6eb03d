import { NO_META } from "../../../src/entry.ts";
import type { Entry, Meta } from "../../../src/entry.ts";
import { SyncError } from "../../../src/error.ts";
import type { Store, Write, WriteResult } from "../../../src/store.ts";
import { systemRuntime } from "../../../src/system.ts";
import { formatVersion } from "../../../src/version.ts";
import type { Version } from "../../../src/version.ts";

const encoder = new TextEncoder();

const BASE_MS = systemRuntime.now() - 3_600_000;

/** Versions of the last hour, by number. */
export function version(at: number): Version {
  return formatVersion(BASE_MS + at, 0, "00000000000000aa");
}

export function value(key: string, at: Version, content: string | Uint8Array, meta: Meta = NO_META): Entry {
  const bytes = typeof content === "string" ? encoder.encode(content) : content;
  return { key, state: "value", value: bytes, version: at, expires: null, meta };
}

export function tombstone(key: string, at: Version): Entry {
  return { key, state: "deleted", value: null, version: at, expires: null, meta: NO_META };
}

export async function write(store: Store, entry: Entry, condition?: Write["if"]): Promise<WriteResult | undefined> {
  const [result] = await store.write([{ entry, asOf: systemRuntime.now(), if: condition }]);
  return result;
}

export async function held(store: Store, key: string): Promise<Entry | undefined> {
  return (await store.read([key]))[0]?.entry;
}

export function text(entry: Entry | undefined): string | undefined {
  return entry?.value == null ? undefined : new TextDecoder().decode(entry.value);
}

export async function failure(call: () => unknown): Promise<SyncError> {
  try {
    await call();
  } catch (error) {
    if (error instanceof SyncError) return error;
    throw error;
  }
  throw new Error("it did not fail");
}

/** A promise and what fulfils it. */
export function gate(): { readonly opened: Promise<void>; open(): void } {
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open: () => open() };
}

export async function all<T>(items: AsyncIterable<T> | Iterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}
