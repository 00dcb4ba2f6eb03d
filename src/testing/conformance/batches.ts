import type { Entry } from "../../entry.ts";
import type { Write } from "../../store.ts";
import type { Version } from "../../version.ts";
import { claim, rejects, same } from "../assert.ts";
import { all, answers, fillable, writable } from "./context.ts";
import type { Check, Context, Unless } from "./context.ts";
import { outcome } from "./values.ts";

const limited: Unless = ({ store }, { batchBound }) =>
  store.supports.batchMax > batchBound ? "the largest batch is above the suite's bound" : undefined;

const several: Unless = ({ store }) => (store.supports.batchMax < 4 ? "batches are too small" : undefined);

export const batchChecks: readonly Check[] = [
  {
    id: "batches/empty",
    title: "takes an empty batch in every verb and does nothing",
    async run(t) {
      same(await t.store.read([]), [], "read of nothing");
      same(await t.store.write([]), [], "write of nothing");
      await t.store.forget([]);
    },
  },
  {
    id: "batches/order",
    title: "answers in the order of the keys, each as often as it is asked",
    unless: all(fillable, several),
    async run(t) {
      const prefix = t.prefix();
      const [a, b] = [t.value(`${prefix}a`, "a"), t.value(`${prefix}b`, "b")];
      await t.put([a, b]);
      const found = await t.store.read([b.key, `${prefix}absent`, a.key, b.key]);
      same(found.length, 4, "answers");
      for (const [i, entry] of [b, undefined, a, b].entries()) answers(found[i], entry, `answer ${i}`);
    },
  },
  {
    id: "batches/at-the-limit",
    title: "takes the largest batch in every verb",
    unless: all(writable, limited),
    async run(t) {
      const entries = many(t, t.store.supports.batchMax);
      const results = await t.store.write(writesOf(t, entries));
      same(new Set(results.map(outcome)).size, 1, "different results");
      same(results.map(outcome)[0], "stored", "results");
      const found = await t.store.read(entries.map(({ key }) => key));
      for (const [i, entry] of entries.entries()) answers(found[i], entry, entry.key);
      await t.store.forget(entries.map(({ key, version }) => ({ key, version, reason: "ghost" })));
      for (const answer of await t.store.read(entries.map(({ key }) => key)))
        answers(answer, undefined, "after forget");
    },
  },
  {
    id: "batches/above-the-limit",
    title: "refuses a batch of one more in every verb, before any effect",
    unless: ({ store }) => (store.supports.batchMax > 1_000_000 ? "there is no limit to pass" : undefined),
    async run(t) {
      const entries = many(t, t.store.supports.batchMax + 1);
      const keys = entries.map(({ key }) => key);
      const items = entries.map(({ key, version }) => ({ key, version, reason: "ghost" }) as const);
      await rejects("TOO_LARGE", () => t.store.read(keys), "read");
      await rejects("TOO_LARGE", () => t.store.write(writesOf(t, entries)), "write");
      await rejects("TOO_LARGE", () => t.store.forget(items), "forget");
      for (const answer of await t.read(keys.slice(0, 3))) answers(answer, undefined, "after the refused write");
    },
  },
  {
    id: "batches/results",
    title: "gives every write of a call its own result",
    unless: all(writable, several),
    async run(t) {
      const prefix = t.prefix();
      const [older, held] = [t.value(`${prefix}held`, "older"), t.value(`${prefix}held`, "held")];
      await t.put([held]);
      const fresh = t.value(`${prefix}fresh`, "fresh");
      const gone = t.tombstone(`${prefix}gone`);
      const results = await t.write([fresh, older, gone, held]);
      same(
        results,
        [{ status: "stored" }, { status: "superseded", by: held.version }, { status: "stored" }, { status: "stored" }],
        "results",
      );
      const found = await t.read([fresh.key, held.key, gone.key]);
      for (const [i, entry] of [fresh, held, gone].entries()) answers(found[i], entry, entry.key);
    },
  },
  {
    id: "batches/atomic",
    title: "shows the writes of a call together or not at all, where it says so",
    unless: all(writable, several, ({ store }) =>
      store.supports.atomicBatch ? undefined : "the store does not say that its batches are atomic",
    ),
    async run(t) {
      const entries = many(t, Math.min(20, t.store.supports.batchMax));
      const keys = entries.map(({ key }) => key);
      const progress = { done: false };
      const writing = t.store.write(writesOf(t, entries)).finally(() => {
        progress.done = true;
      });
      let looks = 0;
      while (!progress.done && looks++ < 1000) {
        const found = (await t.store.read(keys)).filter(({ entry }) => entry !== undefined).length;
        claim(found === 0 || found === keys.length, `${found} of ${keys.length} writes of one call are there`);
      }
      await writing;
      for (const [i, answer] of (await t.store.read(keys)).entries()) answers(answer, entries[i], "after the call");
    },
  },
  {
    id: "batches/malformed",
    title: "refuses a whole call for one malformed write, before any effect",
    unless: all(writable, several),
    async run(t) {
      const prefix = t.prefix();
      const good = t.value(`${prefix}good`, "x");
      const asOf = t.runtime.now();
      const bad: Record<string, Write> = {
        "a version that is none": { entry: t.value(`${prefix}bad`, "x", { version: "1" as Version }), asOf },
        "a value that is missing": { entry: { ...t.value(`${prefix}bad`, "x"), value: null }, asOf },
        "a tombstone with bytes": { entry: { ...t.tombstone(`${prefix}bad`), value: new Uint8Array(1) }, asOf },
        "an expiry that is none": { entry: t.value(`${prefix}bad`, "x", { expires: 1.5 }), asOf },
        "a metadata name in capitals": { entry: t.value(`${prefix}bad`, "x", { meta: { Type: "x" } }), asOf },
        "an asOf that is none": { entry: t.value(`${prefix}bad`, "x"), asOf: Number.NaN },
      };
      for (const [what, write] of Object.entries(bad)) {
        await rejects("INVALID", () => t.store.write([{ entry: good, asOf }, write]), what);
      }
      const meta = { long: "x".repeat(1024) };
      const long = t.value(`${prefix}bad`, "x", { meta });
      await rejects("TOO_LARGE", () => t.store.write(writesOf(t, [good, long])), "metadata above 1 KiB");
      answers(await t.readOne(good.key), undefined, "the good write beside the malformed ones");
    },
  },
];

function many(t: Context, count: number): Entry[] {
  const prefix = t.prefix();
  const version = t.version();
  return Array.from({ length: count }, (_, i) => t.value(`${prefix}${i}`, `${i}`, { version }));
}

function writesOf(t: Context, entries: readonly Entry[]): Write[] {
  const asOf = t.runtime.now();
  return entries.map((entry) => ({ entry, asOf }));
}
