import { same } from "../assert.ts";
import { all, answers, dated, fillable, stubbing, writable } from "./context.ts";
import type { Check } from "./context.ts";
import { claim } from "../assert.ts";
import { outcome } from "./values.ts";

export const stateChecks: readonly Check[] = [
  {
    id: "states/absent",
    title: "answers a key that it never had as absent, dated by the asking",
    async run(t) {
      const before = t.runtime.now();
      const answer = await t.readOne(`${t.prefix()}nothing`);
      answers(answer, undefined, "an absent key");
      claim(t.mirror || answer.asOf >= before, `absence is dated ${before - answer.asOf} ms before the asking`);
      claim(answer.asOf <= t.runtime.now(), "absence is dated in the future");
    },
  },
  {
    id: "states/tombstone",
    title: "stores, reads and lists tombstones like values",
    unless: fillable,
    async run(t) {
      const prefix = t.prefix();
      const entries = [t.tombstone(`${prefix}plain`), t.tombstone(`${prefix}with-meta`, { meta: { by: "someone" } })];
      await t.put(entries);
      const found = await t.read(entries.map(({ key }) => key));
      for (const [i, entry] of entries.entries()) answers(found[i], entry, entry.key);
      const listed = await t.list({ prefix }, { detail: "values" });
      same(
        listed.map(({ key, head, value }) => [key, head?.state, head?.version, value]),
        entries.map(({ key, version }) => [key, "deleted", version, null]),
        "tombstones in a list",
      );
    },
  },
  {
    id: "states/tombstone-over-value",
    title: "hides a value behind its tombstone, and lets a newer value come back",
    unless: writable,
    async run(t) {
      const key = `${t.prefix()}k`;
      const [first, second, third] = [t.value(key, "first"), t.tombstone(key), t.value(key, "third")];
      await t.put([first]);
      await t.put([second]);
      answers(await t.readOne(key), second, "after the delete");
      same(await t.write([first]), [{ status: "superseded", by: second.version }], "the old value again");
      answers(await t.readOne(key), second, "after the old value came again");
      await t.put([third]);
      answers(await t.readOne(key), third, "after a newer value");
    },
  },
  {
    id: "states/stub",
    title: "stores, reads and lists stubs like values",
    unless: all(fillable, stubbing),
    async run(t) {
      const prefix = t.prefix();
      const entries = [t.stub(`${prefix}a`), t.stub(`${prefix}b`, { expires: t.runtime.now() + 3_600_000 })];
      await t.put(entries);
      const found = await t.read(entries.map(({ key }) => key));
      for (const [i, entry] of entries.entries()) answers(found[i], entry, entry.key);
      const listed = await t.list({ prefix }, { detail: "values" });
      same(
        listed.map(({ key, head, value }) => [key, head?.state, head?.version, head?.expires, value]),
        entries.map(({ key, version, expires }) => [key, "stub", version, expires, null]),
        "stubs in a list",
      );
    },
  },
  {
    id: "states/stub-and-value",
    title: "fills a stub with the value of its version, never empties a value by the stub of its version",
    unless: all(writable, stubbing),
    async run(t) {
      const key = `${t.prefix()}k`;
      const value = t.value(key, "x");
      const stub = t.stub(key, { version: value.version });
      same(await t.write([stub]), [{ status: "stored" }], "the stub");
      same(await t.write([value]), [{ status: "stored" }], "the value of its version");
      answers(await t.readOne(key), value, "after the fill");
      same(await t.write([stub]), [{ status: "stored" }], "the stub again");
      answers(await t.readOne(key), value, "after the stub came again");
    },
  },
  {
    id: "states/expired",
    title: "returns entries past their expiry as they are, or has removed them where it says that it does",
    unless: fillable,
    async run(t) {
      const prefix = t.prefix();
      const now = t.runtime.now();
      const entries = [
        t.value(`${prefix}just-now`, "x", { expires: now - 1 }),
        t.value(`${prefix}long-ago`, "x", { expires: 0 }),
        t.value(`${prefix}last-year`, "x", { expires: now - 365 * 86_400_000 }),
      ];
      await t.put(entries);
      const found = await t.read(entries.map(({ key }) => key));
      const listed = await t.list({ prefix }, { detail: "entries" });
      for (const [i, entry] of entries.entries()) {
        const item = listed.find(({ key }) => key === entry.key);
        if (!t.store.supports.expiry || found[i]?.entry !== undefined) answers(found[i], entry, entry.key);
        if (!t.store.supports.expiry || item !== undefined)
          same(item?.head?.expires, entry.expires, `${entry.key} in a list`);
      }
    },
  },
  {
    id: "states/expired-hides-older",
    title: "does not let an older value come up behind an expired one",
    unless: all(writable, ({ store }) =>
      store.supports.expiry ? "the store may have removed the expired entry" : undefined,
    ),
    async run(t) {
      const key = `${t.prefix()}k`;
      const [old, expired] = [t.value(key, "old"), t.value(key, "expired", { expires: t.runtime.now() - 1000 })];
      await t.put([expired]);
      same(await t.write([old]), [{ status: "superseded", by: expired.version }], "an older value");
      answers(await t.readOne(key), expired, "after the older value");
    },
  },
  {
    id: "states/not-yet-expired",
    title: "keeps an entry that has not expired, also where it removes expired ones by itself",
    unless: fillable,
    async run(t) {
      const key = `${t.prefix()}k`;
      const entry = t.value(key, "x", { expires: t.runtime.now() + 3_600_000 });
      await t.put([entry]);
      answers(await t.readOne(key), entry, "an hour before its expiry");
    },
  },
  {
    id: "states/as-of-stored",
    title: "gives back the asOf that was written with the copy",
    unless: all(writable, dated),
    async run(t) {
      const prefix = t.prefix();
      const now = t.runtime.now();
      const dates = [now, now - 1, now - 86_400_000, 0];
      const writes = dates.map((asOf, i) => ({ entry: t.value(`${prefix}${i}`, "x"), asOf }));
      same(
        outcomes(await t.write(writes)),
        dates.map(() => "stored"),
        "results",
      );
      const found = await t.read(writes.map(({ entry }) => entry.key));
      same(
        found.map(({ asOf }) => asOf),
        dates,
        "asOf",
      );
    },
  },
  {
    id: "states/as-of-renewed",
    title: "takes a later asOf from a write of the version it has, never an earlier one, and keeps the entry",
    unless: all(writable, dated),
    async run(t) {
      const prefix = t.prefix();
      const now = t.runtime.now();
      const entries = [t.value(`${prefix}value`, "x"), t.tombstone(`${prefix}tombstone`)];
      for (const asOf of [now - 5000, now - 1000, now - 9000]) await t.write(entries.map((entry) => ({ entry, asOf })));
      const found = await t.read(entries.map(({ key }) => key));
      for (const [i, entry] of entries.entries()) {
        answers(found[i], entry, entry.key);
        same(found[i]?.asOf, now - 1000, `asOf of ${entry.key}`);
      }
    },
  },
  {
    id: "states/as-of-of-the-newer",
    title: "dates a newer version by its own asOf, however old, and does not renew it by an older version",
    unless: all(writable, dated),
    async run(t) {
      const key = `${t.prefix()}k`;
      const now = t.runtime.now();
      const [old, newer] = [t.value(key, "old"), t.value(key, "newer")];
      await t.write([{ entry: old, asOf: now - 1000 }]);
      await t.write([{ entry: newer, asOf: now - 9000 }]);
      same((await t.readOne(key)).asOf, now - 9000, "asOf of the newer version");
      await t.write([{ entry: old, asOf: now }]);
      same((await t.readOne(key)).asOf, now - 9000, "asOf after the older version came with a later one");
    },
  },
  {
    id: "states/as-of-known",
    title: "dates its answers by what it knows itself, whatever asOf was written",
    unless: all(fillable, ({ store }) =>
      store.supports.asOf === "known" ? undefined : "the store keeps the asOf written",
    ),
    async run(t) {
      const key = `${t.prefix()}k`;
      const entry = t.value(key, "x");
      if (t.store.supports.readonly) await t.put([entry]);
      else await t.write([{ entry, asOf: 5 }]);
      const before = t.runtime.now();
      const answer = await t.readOne(key);
      answers(answer, entry, key);
      claim(answer.asOf !== 5, "the answer has the asOf that was written");
      claim(t.mirror || answer.asOf >= before, `the answer is dated ${before - answer.asOf} ms before the asking`);
      claim(answer.asOf <= t.runtime.now(), "the answer is dated in the future");
    },
  },
];

function outcomes(results: readonly Parameters<typeof outcome>[0][]): string[] {
  return results.map(outcome);
}
