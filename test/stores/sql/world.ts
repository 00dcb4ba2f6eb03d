import { expect } from "vitest";
import { NO_META } from "../../../src/entry.ts";
import type { Entry } from "../../../src/entry.ts";
import { SyncError } from "../../../src/error.ts";
import type { Change, Store, WatchOptions, Write } from "../../../src/store.ts";
import { systemRuntime } from "../../../src/system.ts";
import { formatVersion } from "../../../src/version.ts";
import type { Version } from "../../../src/version.ts";

export const runtime = systemRuntime;

export const versionAt = (at: number): Version => formatVersion(1.7e12 + at, 0, "0".repeat(16));

export function entry(key: string, at: number, value: string | Uint8Array = "x", more: Partial<Entry> = {}): Entry {
  const bytes = typeof value === "string" ? new TextEncoder().encode(value) : value;
  return { key, state: "value", value: bytes, version: versionAt(at), expires: null, meta: NO_META, ...more };
}

export function write(item: Entry, condition?: Write["if"]): Write {
  return { entry: item, asOf: 0, if: condition };
}

export async function put(store: Store, ...entries: readonly Entry[]): Promise<void> {
  const results = await store.write(entries.map((item) => write(item)));
  expect(new Set(results.map(({ status }) => status))).toEqual(new Set(["stored"]));
}

/** The value of a key as text. */
export async function valueOf(store: Store, key: string): Promise<string | undefined> {
  const [answer] = await store.read([key]);
  return answer?.entry?.value === undefined ? undefined : new TextDecoder().decode(answer.entry.value ?? undefined);
}

export async function failure(call: () => unknown): Promise<SyncError> {
  try {
    await call();
  } catch (error) {
    expect(error).toBeInstanceOf(SyncError);
    return error as SyncError;
  }
  throw new Error("it did not fail");
}

/** A change in a word or two. */
export function brief(change: Change): string {
  if (change.kind !== "change") return change.kind;
  return change.head === null ? `${change.key} gone` : `${change.key} ${change.head.state}`;
}

/** A watch pulled by hand; it ends by its signal. */
export class Pulled {
  private readonly control = new AbortController();
  private readonly iterator: AsyncIterator<Change>;
  cursor = "";

  constructor(store: Store, options: WatchOptions = {}, prefix = "") {
    const { signal } = this.control;
    this.iterator = store.watch({ prefix }, { intervalMs: 5, ...options, signal })[Symbol.asyncIterator]();
  }

  async next(): Promise<string> {
    const { done, value } = await this.iterator.next();
    if (done === true) return "end";
    if ("cursor" in value) ({ cursor: this.cursor } = value);
    return brief(value);
  }

  /** Everything up to and with "current" or "relist". */
  async start(): Promise<string[]> {
    const told: string[] = [];
    do told.push(await this.next());
    while (!["current", "relist", "end"].includes(told.at(-1) ?? ""));
    return told;
  }

  async end(): Promise<void> {
    this.control.abort();
    await this.iterator.return?.();
  }
}

/** Asks again and again until the answer is right: for what a server does in its own time. Bounded by the test's. */
export async function until<T>(ask: () => Promise<T>, right: (answer: T) => boolean): Promise<T> {
  for (;;) {
    const answer = await ask();
    if (right(answer)) return answer;
  }
}
