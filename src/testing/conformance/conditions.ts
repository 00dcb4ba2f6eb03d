import type { Entry } from "../../entry.ts";
import type { Write, WriteResult } from "../../store.ts";
import { claim, same } from "../assert.ts";
import { all, answers, conditional, plain, stubbing, writable } from "./context.ts";
import type { Check, Context } from "./context.ts";
import { outcome } from "./values.ts";

export const conditionChecks: readonly Check[] = [
  {
    id: "conditions/absent",
    title: 'writes on condition "absent" over nothing, a tombstone and an expired value, and over nothing else',
    unless: all(writable, conditional),
    async run(t) {
      const prefix = t.prefix();
      const now = t.runtime.now();
      const before: Record<string, Entry | undefined> = {
        nothing: undefined,
        tombstone: t.tombstone(`${prefix}tombstone`),
        expired: t.value(`${prefix}expired`, "x", { expires: now - 1 }),
        "expired tombstone": t.tombstone(`${prefix}expired tombstone`, { expires: now - 1 }),
        value: t.value(`${prefix}value`, "x"),
        "empty value": t.value(`${prefix}empty value`, ""),
        "not yet expired": t.value(`${prefix}not yet expired`, "x", { expires: now + 3_600_000 }),
      };
      await t.put(Object.values(before).filter((entry) => entry !== undefined));
      const entries = Object.keys(before).map((name) => t.value(prefix + name, "new"));
      const results = await t.write(entries.map((entry) => ({ entry, asOf: now, if: "absent" })));
      for (const [i, [name, held]] of Object.entries(before).entries()) {
        const free = !["value", "empty value", "not yet expired"].includes(name);
        if (free) same(results[i], { status: "stored" }, `absent over ${name}`);
        else conflicts(results[i], held, `absent over ${name}`);
        answers(await t.readOne(prefix + name), free ? entries[i] : held, `after absent over ${name}`);
      }
    },
  },
  {
    id: "conditions/absent-over-stub",
    title: 'does not take a stub for "absent": its value is further down',
    unless: all(writable, conditional, stubbing),
    async run(t) {
      const key = `${t.prefix()}k`;
      const stub = t.stub(key);
      await t.put([stub]);
      conflicts(await one(t, t.value(key, "new"), "absent"), stub, "absent over a stub");
      answers(await t.readOne(key), stub, "after the conflict");
      same(await one(t, t.value(key, "new"), stub.version), { status: "stored" }, "over the stub's version");
    },
  },
  {
    id: "conditions/version",
    title: "writes on condition of a version exactly when the store has that version",
    unless: all(writable, conditional),
    async run(t) {
      const key = `${t.prefix()}k`;
      const [first, second] = [t.value(key, "first"), t.value(key, "second")];
      conflicts(await one(t, second, first.version), undefined, "a version over nothing");
      answers(await t.readOne(key), undefined, "after a version over nothing");
      await t.put([first]);
      conflicts(await one(t, t.value(key, "x"), second.version), first, "another version");
      same(await one(t, second, first.version), { status: "stored" }, "the version it has");
      const gone = t.tombstone(key);
      conflicts(await one(t, gone, first.version), second, "the version it had");
      same(await one(t, gone, second.version), { status: "stored" }, "a conditional delete");
      answers(await t.readOne(key), gone, "after the conditional delete");
      same(await one(t, t.value(key, "back"), gone.version), { status: "stored" }, "over the tombstone's version");
    },
  },
  {
    id: "conditions/retry",
    title: "takes the retry of a conditional write that took effect as met",
    unless: all(writable, conditional),
    async run(t) {
      const key = `${t.prefix()}k`;
      const [first, second] = [t.value(key, "first"), t.value(key, "second")];
      for (const what of ["absent", "absent again"]) same(await one(t, first, "absent"), { status: "stored" }, what);
      for (const what of ["version", "version again"])
        same(await one(t, second, first.version), { status: "stored" }, what);
      conflicts(await one(t, first, "absent"), second, "a retry that something newer has overtaken");
      answers(await t.readOne(key), second, "in the end");
    },
  },
  {
    id: "conditions/merge",
    title: "still keeps the newest version where a condition holds",
    unless: all(writable, conditional),
    async run(t) {
      const key = `${t.prefix()}k`;
      const [older, held] = [t.value(key, "older"), t.tombstone(key)];
      await t.put([held]);
      same(
        await one(t, older, held.version),
        { status: "superseded", by: held.version },
        "an older write on its version",
      );
      same(
        await one(t, older, "absent"),
        { status: "superseded", by: held.version },
        "an older write over a tombstone",
      );
      answers(await t.readOne(key), held, "after older writes");
    },
  },
  {
    id: "conditions/race",
    title: "lets exactly one of 20 conditional writes win that are under way at once, and names it to the others",
    unless: all(writable, conditional),
    async run(t) {
      const key = `${t.prefix()}k`;
      let held: Entry | undefined;
      for (const round of [1, 2]) {
        const entries = Array.from({ length: 20 }, (_, i) => t.value(key, `${round} ${i}`));
        const condition = held?.version ?? "absent";
        const results = await Promise.all(t.random.shuffle(entries).map((entry) => named(t, entry, condition)));
        const winners = results.filter(({ result }) => result.status === "stored");
        same(winners.length, 1, `winners of round ${round}`);
        const winner = winners[0]?.entry;
        for (const { entry, result } of results) if (entry !== winner) conflicts(result, winner, "a loser");
        answers(await t.readOne(key), winner, `after round ${round}`);
        held = winner;
      }
    },
  },
  {
    id: "conditions/counter",
    title: "loses no step of a counter that 5 callers raise by conditional writes",
    unless: all(writable, conditional),
    async run(t) {
      const key = `${t.prefix()}k`;
      await t.put([t.value(key, Uint8Array.of(0))]);
      const raise = async () => {
        for (;;) {
          const { entry } = await t.readOne(key);
          claim(entry?.value !== undefined && entry.value !== null, "the counter has no value");
          const next = t.value(key, Uint8Array.of((entry.value[0] ?? 0) + 1));
          if ((await one(t, next, entry.version)).status === "stored") return;
        }
      };
      await Promise.all(Array.from({ length: 5 }, raise));
      same((await t.readOne(key)).entry?.value, Uint8Array.of(5), "the counter");
    },
  },
  {
    id: "conditions/batch",
    title: "decides the conditions of one call each by itself",
    unless: all(writable, conditional, ({ store }) =>
      store.supports.batchMax < 3 ? "batches are too small" : undefined,
    ),
    async run(t) {
      const prefix = t.prefix();
      const held = t.value(`${prefix}held`, "x");
      await t.put([held]);
      const [a, b, plainOne] = [t.value(`${prefix}a`, "x"), t.value(held.key, "new"), t.value(`${prefix}c`, "x")];
      const asOf = t.runtime.now();
      const [first, second, third] = await t.store.write([
        { entry: a, asOf, if: "absent" },
        { entry: b, asOf, if: "absent" },
        { entry: plainOne, asOf },
      ]);
      same([first, third], [{ status: "stored" }, { status: "stored" }], "the others of the call");
      conflicts(second, held, "the one whose condition fails");
      const found = await t.read([a.key, b.key, plainOne.key]);
      for (const [i, entry] of [a, held, plainOne].entries()) answers(found[i], entry, `key ${i}`);
    },
  },
  {
    id: "conditions/unsupported",
    title: "refuses conditional writes with UNSUPPORTED where it has none, and stores the others of the call",
    unless: all(writable, ({ store }) => (store.supports.conditional ? "the store has conditional writes" : undefined)),
    async run(t) {
      const prefix = t.prefix();
      const [a, b, c] = [t.value(`${prefix}a`, "x"), t.value(`${prefix}b`, "x"), t.value(`${prefix}c`, "x")];
      const asOf = t.runtime.now();
      const writes: Write[] = [
        { entry: a, asOf, if: "absent" },
        { entry: b, asOf, if: a.version },
        { entry: c, asOf },
      ];
      same((await t.write(writes)).map(outcome), ["failed UNSUPPORTED", "failed UNSUPPORTED", "stored"], "results");
      const found = await t.read([a.key, b.key, c.key]);
      for (const [i, entry] of [undefined, undefined, c].entries()) answers(found[i], entry, `key ${i}`);
    },
  },
];

async function one(t: Context, entry: Entry, condition: Write["if"]): Promise<WriteResult> {
  const [result] = await t.store.write([{ entry, asOf: t.runtime.now(), if: condition }]);
  claim(result !== undefined, "a write gave no result");
  return result;
}

async function named(t: Context, entry: Entry, condition: Write["if"]) {
  return { entry, result: await one(t, entry, condition) };
}

function conflicts(result: WriteResult | undefined, current: Entry | undefined, what: string): void {
  claim(result?.status === "conflict", `${what}: ${result?.status}, expected a conflict`);
  same(plain(result.current), plain(current), `${what}: what stands in the way`);
}
