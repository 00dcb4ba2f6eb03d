import type { Entry } from "../../entry.ts";
import type { Forget } from "../../store.ts";
import { same } from "../assert.ts";
import { answers, writable } from "./context.ts";
import type { Check, Opened, Unless } from "./context.ts";

const reopening: Unless = ({ store, reopen }) =>
  reopen === undefined ? (store.supports.durable ? "no `reopen` was given" : "the store is not durable") : undefined;

export const collectionChecks: readonly Check[] = [
  {
    id: "collection/exactly",
    title: "forgets an entry that has exactly the version named, physically, and leaves every other",
    unless: writable,
    async run(t) {
      const prefix = t.prefix();
      const [old, held, tombstone, other] = [
        t.value(`${prefix}a`, "old"),
        t.value(`${prefix}a`, "held"),
        t.tombstone(`${prefix}b`),
        t.value(`${prefix}c`, "x"),
      ];
      await t.put([held, tombstone, other]);
      await t.forget([ghost(old), ghost({ ...held, version: t.version() })]);
      answers(await t.readOne(held.key), held, "after versions it does not have were forgotten");
      await t.forget([ghost(held), ghost(tombstone)]);
      const found = await t.read([held.key, tombstone.key, other.key]);
      for (const [i, entry] of [undefined, undefined, other].entries()) answers(found[i], entry, `key ${i}`);
      same(
        (await t.list({ prefix })).map(({ key }) => key),
        [other.key],
        "keys in a list",
      );
    },
  },
  {
    id: "collection/nothing",
    title: "forgets what it does not have, and what it forgot before, without complaint",
    unless: writable,
    async run(t) {
      const entry = t.value(`${t.prefix()}k`, "x");
      await t.forget([ghost(entry)]);
      await t.put([entry]);
      await t.forget([ghost(entry), ghost(entry)]);
      await t.forget([ghost(entry)]);
      answers(await t.readOne(entry.key), undefined, "in the end");
    },
  },
  {
    id: "collection/ghost",
    title: "takes a version again after it was forgotten as a ghost",
    unless: writable,
    async run(t) {
      const { store } = await t.fresh();
      const entry = t.value("k", "x");
      same(await t.write([entry], store), [{ status: "stored" }], "the first time");
      await store.forget([ghost(entry)]);
      same(await t.write([entry], store), [{ status: "stored" }], "after it was forgotten");
      answers(await t.readOne(entry.key, store), entry, "in the end");
    },
  },
  {
    id: "collection/watermark",
    title: "refuses an absent key as too old at and below the collected version, and takes it above",
    unless: writable,
    async run(t) {
      const opened = await t.fresh();
      const { store } = opened;
      const [below, collected, above] = [t.value("below", "x"), t.tombstone("collected"), t.value("above", "x")];
      await t.put([collected], opened);
      await store.forget([collect(collected)]);
      answers(await t.readOne(collected.key, store), undefined, "the collected key");
      const again = [
        below,
        collected,
        t.value("collected", "came back", { version: below.version }),
        t.tombstone("other", { version: below.version }),
        t.value("at", "x", { version: collected.version }),
        above,
      ];
      const tooOld = { status: "too-old" };
      same(await t.write(again, store), [tooOld, tooOld, tooOld, tooOld, tooOld, { status: "stored" }], "results");
      same(
        (await t.list({ prefix: "" }, {}, store)).map(({ key }) => key),
        ["above"],
        "keys in a list",
      );
      answers(await t.readOne("collected", store), undefined, "the collected key in the end");
    },
  },
  {
    id: "collection/watermark-and-present-keys",
    title: "does not refuse a key it has for the watermark",
    unless: writable,
    async run(t) {
      const opened = await t.fresh();
      const { store } = opened;
      const [first, second, third] = [t.value("k", "first"), t.value("k", "second"), t.value("k", "third")];
      const collected = t.tombstone("collected");
      await t.put([second, collected], opened);
      await store.forget([collect(collected)]);
      same(await t.write([second], store), [{ status: "stored" }], "the version it has");
      same(await t.write([first], store), [{ status: "superseded", by: second.version }], "an older version");
      same(await t.write([third], store), [{ status: "stored" }], "a newer version below the watermark");
      answers(await t.readOne("k", store), third, "in the end");
    },
  },
  {
    id: "collection/watermark-never-falls",
    title: "keeps the watermark where it is when something older is collected or a ghost is forgotten",
    unless: writable,
    async run(t) {
      const opened = await t.fresh();
      const { store } = opened;
      const [low, middle, high, ghostly] = [
        t.tombstone("low"),
        t.value("middle", "x"),
        t.tombstone("high"),
        t.value("g", "x"),
      ];
      await t.put([low, high, ghostly], opened);
      await store.forget([collect(high)]);
      await store.forget([collect(low)]);
      same(await t.write([middle], store), [{ status: "too-old" }], "a version between the two");
      await store.forget([ghost(ghostly)]);
      const between = t.value("g", "x", { version: ghostly.version });
      same(await t.write([between], store), [{ status: "stored" }], "the ghost again, above the watermark");
    },
  },
  {
    id: "collection/watermark-survives",
    title: "keeps the watermark when it is opened again",
    unless: (opened, settings) => writable(opened, settings) ?? reopening(opened, settings),
    async run(t) {
      const opened = await t.fresh();
      const [below, collected] = [t.value("below", "x"), t.tombstone("collected")];
      await t.put([collected], opened);
      await opened.store.forget([collect(collected)]);
      const again: Opened = await t.reopen(opened);
      same(
        await t.write([below, collected], again.store),
        [{ status: "too-old" }, { status: "too-old" }],
        "after reopening",
      );
      same(
        await t.write([t.value("above", "x")], again.store),
        [{ status: "stored" }],
        "a newer version after reopening",
      );
    },
  },
];

function ghost({ key, version }: Entry): Forget {
  return { key, version, reason: "ghost" };
}

function collect({ key, version }: Entry): Forget {
  return { key, version, reason: "collected" };
}
