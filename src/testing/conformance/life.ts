import { answers, fillable } from "./context.ts";
import { same } from "../assert.ts";
import type { Check, Unless } from "./context.ts";
import { uninterrupted } from "./watches.ts";

const reopening: Unless = ({ store, reopen }) =>
  reopen === undefined ? (store.supports.durable ? "no `reopen` was given" : "the store is not durable") : undefined;

export const lifeChecks: readonly Check[] = [
  {
    id: "life/apart",
    title: "shares nothing with another store that was opened empty",
    unless: fillable,
    async run(t) {
      const [one, two] = [await t.fresh(), await t.fresh()];
      await t.put([t.value("of one", "x")], one);
      const entry = t.value("k", "two");
      await t.put([entry], two);
      same(
        (await t.list({ prefix: "" }, {}, two.store)).map(({ key }) => key),
        ["k"],
        "keys of the other store",
      );
      await one.store.close();
      answers(await t.readOne("k", two.store), entry, "the other store, after the first was closed");
    },
  },
  {
    id: "life/reopened",
    title: "has every acknowledged entry when it is opened again",
    unless: (opened, settings) => fillable(opened, settings) ?? reopening(opened, settings),
    async run(t) {
      const opened = await t.fresh();
      const { stubs } = opened.store.supports;
      const entries = [
        t.value("value", "x", { meta: { "content-type": "text/plain" }, expires: t.runtime.now() + 3_600_000 }),
        t.value("empty", ""),
        t.tombstone("tombstone"),
        ...(stubs ? [t.stub("stub")] : []),
      ];
      await t.put(entries, opened);
      const again = await t.reopen(opened);
      const found = await t.read(
        entries.map(({ key }) => key),
        again.store,
      );
      for (const [i, entry] of entries.entries()) answers(found[i], entry, entry.key);
      same((await t.list({ prefix: "" }, {}, again.store)).length, entries.length, "keys in a list");
    },
  },
  {
    id: "life/reopened-cursor",
    title: "follows a cursor from before it was opened again, or says relist",
    unless: (opened, settings) =>
      (opened.store.supports.readonly ? "the store takes no writes" : undefined) ?? reopening(opened, settings),
    async run(t) {
      const opened = await t.fresh();
      await t.put([t.value("before", "x")], opened);
      let cursor: string | undefined;
      for await (const change of opened.store.watch({ prefix: "" }, { intervalMs: 1 })) {
        if (change.kind !== "current") continue;
        ({ cursor } = change);
        break;
      }
      const again = await t.reopen(opened);
      const after = t.value("after", "x");
      await t.put([after], again);
      const told: unknown[] = [];
      const changes = again.store.watch({ prefix: "" }, { cursor, intervalMs: 1 });
      for await (const change of uninterrupted(changes)) {
        told.push(change.kind === "change" ? [change.key, change.head?.version] : change.kind);
        if (change.kind === "current") break;
      }
      if (told[0] !== "relist") same(told, [["after", after.version], "current"], "what the cursor gives");
    },
  },
];
