import type { CallOptions, Store } from "../../store.ts";
import { SyncError } from "../../error.ts";
import { claim, rejects, same } from "../assert.ts";
import { all, answers, fillable, writable } from "./context.ts";
import type { Check, Context } from "./context.ts";

export const callChecks: readonly Check[] = [
  {
    id: "calls/aborted-before",
    title: "does nothing in any verb when the signal was given before the call",
    async run(t) {
      const control = new AbortController();
      control.abort(new Error("the caller's reason"));
      for (const [verb, call] of verbs(t))
        await rejects("ABORTED", () => call(t.store, { signal: control.signal }), verb);
    },
  },
  {
    id: "calls/aborted-before-effect",
    title: "stores and forgets nothing when the signal was given before the call",
    unless: writable,
    async run(t) {
      const control = new AbortController();
      control.abort();
      await noEffect(t, "ABORTED", { signal: control.signal });
    },
  },
  {
    id: "calls/aborted-midway",
    title: "ends every verb when the signal comes while it is under way: with its result or with ABORTED",
    async run(t) {
      for (const [verb, call] of verbs(t)) {
        const control = new AbortController();
        const running = call(t.store, { signal: control.signal });
        control.abort();
        try {
          await running;
        } catch (error) {
          claim(error instanceof SyncError, `${verb} threw ${String(error)}`);
          claim(error.code === "ABORTED" || error.code === "READONLY", `${verb} threw ${error.code}, expected ABORTED`);
        }
      }
    },
  },
  {
    id: "calls/aborted-list",
    title: "ends a list with ABORTED when the signal comes between two items, never as if it were complete",
    unless: fillable,
    async run(t) {
      const prefix = t.prefix();
      const entries = Array.from({ length: 30 }, (_, i) => t.value(`${prefix}${i}`, "x"));
      await t.put(entries);
      const control = new AbortController();
      const seen: string[] = [];
      const error = await rejects(
        "ABORTED",
        async () => {
          for await (const item of t.store.list({ prefix }, { signal: control.signal })) {
            seen.push(item.kind);
            control.abort();
          }
        },
        "the list",
      );
      claim(seen.length < entries.length, `the list went on to its end: ${error.message}`);
    },
  },
  {
    id: "calls/signal-unused",
    title: "works with a signal that never comes and a deadline that is far away",
    unless: writable,
    async run(t) {
      const entry = t.value(`${t.prefix()}k`, "x");
      const options = { signal: new AbortController().signal, deadline: t.runtime.monotonic() + 3_600_000 };
      same(await t.store.write([{ entry, asOf: t.runtime.now() }], options), [{ status: "stored" }], "write");
      answers((await t.store.read([entry.key], options))[0], entry, "read");
      const keys: string[] = [];
      for await (const item of t.store.list({ prefix: entry.key }, options))
        if (item.kind === "entry") keys.push(item.key);
      same(keys, [entry.key], "list");
      await t.store.forget([{ key: entry.key, version: entry.version, reason: "ghost" }], options);
      answers((await t.store.read([entry.key], options))[0], undefined, "after forget");
    },
  },
  {
    id: "calls/late",
    title: "does nothing in any verb when the deadline has passed before the call",
    async run(t) {
      for (const deadline of [t.runtime.monotonic(), t.runtime.monotonic() - 10_000]) {
        for (const [verb, call] of verbs(t)) await rejects("TIMEOUT", () => call(t.store, { deadline }), verb);
      }
    },
  },
  {
    id: "calls/late-effect",
    title: "stores and forgets nothing when the deadline has passed before the call",
    unless: writable,
    run: (t) => noEffect(t, "TIMEOUT", { deadline: t.runtime.monotonic() - 1 }),
  },
  {
    id: "calls/late-watch",
    title: "ends a watch with TIMEOUT when its deadline comes while it waits",
    async run(t) {
      const deadline = t.runtime.monotonic() + 20;
      const drain = async () => {
        for await (const change of t.store.watch({ prefix: t.prefix() }, { deadline, intervalMs: 1 })) void change;
      };
      await rejects("TIMEOUT", drain, "the waiting watch");
    },
  },
  {
    id: "calls/closed",
    title: "refuses every verb with CLOSED after close, which may be called again",
    async run(t) {
      const { store } = await t.fresh();
      await store.close();
      for (const [verb, call] of verbs(t)) await rejects("CLOSED", () => call(store, {}), verb);
      await store.close();
      await Promise.all([store.close(), store.close()]);
    },
  },
  {
    id: "calls/closed-under-way",
    title: "lets a write that is under way at close either be stored or be refused with CLOSED",
    unless: all(writable),
    async run(t) {
      const opened = await t.fresh();
      const entry = t.value("k", "x");
      const writing = opened.store.write([{ entry, asOf: t.runtime.now() }]);
      const closing = opened.store.close();
      try {
        same(await writing, [{ status: "stored" }], "the write");
      } catch (error) {
        claim(error instanceof SyncError && error.code === "CLOSED", `the write threw ${String(error)}`);
      }
      await closing;
    },
  },
  {
    id: "calls/closed-list",
    title: "ends a list with CLOSED or with its last key when the store is closed in the middle, never short",
    unless: fillable,
    async run(t) {
      const opened = await t.fresh();
      const entries = Array.from({ length: 30 }, (_, i) => t.value(`${i}`.padStart(2, "0"), "x"));
      await t.put(entries, opened);
      const keys: string[] = [];
      let closing: Promise<void> | undefined;
      try {
        for await (const item of opened.store.list({ prefix: "" })) {
          if (item.kind === "entry") keys.push(item.key);
          closing ??= opened.store.close();
        }
        same(
          keys,
          entries.map(({ key }) => key),
          "the keys of a list that did not fail",
        );
      } catch (error) {
        claim(error instanceof SyncError && error.code === "CLOSED", `the list threw ${String(error)}`);
      }
      await closing;
    },
  },
];

type Call = (store: Store, options: CallOptions) => Promise<unknown>;

/** Every verb in its smallest form. Nothing here takes effect on a store that works. */
function verbs(t: Context): [string, Call][] {
  const key = `${t.prefix()}k`;
  const entry = t.value(key, "x");
  const asOf = t.runtime.now();
  const items = [{ key, version: entry.version, reason: "ghost" }] as const;
  return [
    ["read", (store, options) => store.read([key], options)],
    ["write", (store, options) => store.write([{ entry, asOf }], options)],
    ["forget", (store, options) => store.forget(items, options)],
    ["list", (store, options) => drain(store.list({ prefix: key }, options))],
    ["watch", (store, options) => first(store.watch({ prefix: key }, { ...options, intervalMs: 1 }))],
  ];
}

async function noEffect(t: Context, code: "ABORTED" | "TIMEOUT", options: CallOptions): Promise<void> {
  const prefix = t.prefix();
  const [held, other] = [t.value(`${prefix}held`, "x"), t.value(`${prefix}other`, "x")];
  await t.put([held]);
  const newer = t.value(held.key, "newer");
  const writes = [newer, other].map((entry) => ({ entry, asOf: t.runtime.now() }));
  await rejects(code, () => t.store.write(writes.slice(0, t.store.supports.batchMax), options), "write");
  const items = [{ key: held.key, version: held.version, reason: "ghost" }] as const;
  await rejects(code, () => t.store.forget(items, options), "forget");
  const found = await t.read([held.key, other.key]);
  for (const [i, entry] of [held, undefined].entries()) answers(found[i], entry, `key ${i}`);
}

async function drain(items: AsyncIterable<unknown>): Promise<number> {
  let count = 0;
  for await (const item of items) if (item !== undefined) count++;
  return count;
}

async function first<T>(items: AsyncIterable<T>): Promise<T | undefined> {
  for await (const item of items) return item;
  return undefined;
}
