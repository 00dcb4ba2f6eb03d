import { expect } from "vitest";
import { NO_META } from "../../../src/entry.ts";
import type { Entry } from "../../../src/entry.ts";
import { SyncError } from "../../../src/error.ts";
import type { Change, Store, WatchOptions } from "../../../src/store.ts";
import { etcd } from "../../../src/stores/etcd.ts";
import type { EtcdOptions } from "../../../src/stores/etcd.ts";
import { Connection } from "../../../src/stores/etcd/connection.ts";
import { limitsOf } from "../../../src/stores/etcd/limits.ts";
import { TXN } from "../../../src/stores/etcd/messages.ts";
import { systemRuntime } from "../../../src/system.ts";
import { formatVersion } from "../../../src/version.ts";

export const runtime = systemRuntime;

/** A store that reads no environment of the machine that runs the test. */
export function openAt(where: string, options: Partial<EtcdOptions> = {}): Promise<Store> {
  return etcd(where.includes("://") ? where : `etcd://${where}`, { runtime, env: {}, ...options });
}

/** Puts past the store, as another program would. */
export function rawEtcd(endpoints: string, user?: { readonly name: string; readonly password: string }) {
  const limits = limitsOf({});
  const address = { endpoints: endpoints.split(","), prefix: "", user, tls: undefined };
  const connection = new Connection(address, { runtime, store: "raw", ...limits });
  return {
    put: async (key: string, value: Uint8Array) => {
      const success = [{ put: { key: new TextEncoder().encode(key), value } }];
      await connection.call(TXN, { success }, connection.ownCall("put"));
    },
    close: () => connection.close(),
  };
}

let ms = Date.now() - 3_600_000;
const NODE = "00000000000000aa";

/** An entry with a version above those that were made before. */
export function entry(key: string, value: string | Uint8Array = "x", expires: number | null = null): Entry {
  const bytes = typeof value === "string" ? new TextEncoder().encode(value) : value;
  return { key, state: "value", value: bytes, version: formatVersion(ms++, 0, NODE), expires, meta: NO_META };
}

export function entries(prefix: string, count: number, value: string | Uint8Array = "x"): Entry[] {
  return Array.from({ length: count }, (_, i) => entry(`${prefix}${String(i).padStart(5, "0")}`, value));
}

export async function put(store: Store, items: readonly Entry[]): Promise<void> {
  const asOf = runtime.now();
  const results = await store.write(items.map((item) => ({ entry: item, asOf })));
  expect(new Set(results.map(({ status }) => status))).toEqual(new Set(["stored"]));
}

/** The version of each key, undefined where nothing is. */
export async function versions(store: Store, keys: readonly string[]): Promise<(string | undefined)[]> {
  const found: (string | undefined)[] = [];
  for (let i = 0; i < keys.length; i += 1000) {
    for (const answer of await store.read(keys.slice(i, i + 1000))) found.push(answer.entry?.version);
  }
  return found;
}

export async function keysOf(store: Store, prefix = ""): Promise<string[]> {
  const keys: string[] = [];
  for await (const item of store.list({ prefix })) if (item.kind === "entry") keys.push(item.key);
  return keys;
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

export function within(timeoutMs: number): { deadline: number } {
  return { deadline: runtime.monotonic() + timeoutMs };
}

/** A watch that is read in the background, so that what it tells can be waited for. */
export class Watching {
  readonly told: Change[] = [];
  /** The watch's failure; undefined when it ended quietly. */
  readonly ended: Promise<SyncError | undefined>;
  private readonly control = new AbortController();
  private readonly waiting = new Set<() => void>();

  constructor(store: Store, prefix = "", options: WatchOptions = {}) {
    this.ended = this.run(store, prefix, options);
  }

  private async run(store: Store, prefix: string, options: WatchOptions): Promise<SyncError | undefined> {
    try {
      for await (const change of store.watch({ prefix }, { signal: this.control.signal, ...options })) {
        this.told.push(change);
        for (const wake of this.waiting) wake();
      }
      return undefined;
    } catch (error) {
      return error as SyncError;
    }
  }

  /** Until what was told satisfies; fails when the watch ends first. */
  async until(satisfied: (told: readonly Change[]) => boolean): Promise<void> {
    while (!satisfied(this.told)) {
      let wake: () => void = () => undefined;
      const next = new Promise<void>((resolve) => {
        wake = resolve;
        this.waiting.add(wake);
      });
      const ended = await Promise.race([next, this.ended.then((error) => ({ error }))]);
      this.waiting.delete(wake);
      if (ended !== undefined && !satisfied(this.told)) {
        throw new Error(`the watch ended: ${ended.error?.message ?? "quietly"}`);
      }
    }
  }

  current(): Promise<void> {
    return this.until((told) => told.some(({ kind }) => kind === "current"));
  }

  /** Until the newest that was told of each of these keys is these entries. */
  untilAll(items: readonly Entry[]): Promise<void> {
    return this.until(() => {
      const last = this.newest();
      return items.every(({ key, version }) => last.get(key) === version);
    });
  }

  /** The version last told of each key, "removed" for one that went. */
  newest(): Map<string, string> {
    return new Map(
      this.told.flatMap((change) =>
        change.kind === "change" ? [[change.key, change.head?.version ?? "removed"]] : [],
      ),
    );
  }

  get cursor(): string | undefined {
    const last = this.told.findLast((change) => "cursor" in change);
    return last !== undefined && "cursor" in last ? last.cursor : undefined;
  }

  async end(): Promise<void> {
    this.control.abort();
    await this.ended;
  }
}
