import { merge } from "../../entry.ts";
import type { Copy, Entry, Meta } from "../../entry.ts";
import type { Answer, Write } from "../../store.ts";
import { same } from "../assert.ts";
import { all, answers, stubbing, writable } from "./context.ts";
import type { Check, Context } from "./context.ts";

/** Copies of one key in the order in which they arrive. */
type Arrivals = readonly Copy[];

export const mergeChecks: readonly Check[] = [
  {
    id: "merge/every-order",
    title: "keeps the newest version of values and tombstones, in every order of arrival",
    unless: writable,
    async run(t) {
      const [v1, v2, v3] = [t.version(), t.version(), t.version()];
      await arrive(t, [
        ...orders(
          [t.value("", "one", { version: v1 }), t.value("", "two", { version: v2 }), t.tombstone("", { version: v3 })],
          t,
        ),
        ...orders(
          [
            t.value("", "one", { version: v1 }),
            t.tombstone("", { version: v2 }),
            t.value("", "three", { version: v3 }),
          ],
          t,
        ),
        ...orders(
          [
            t.value("", "one", { version: v1, expires: 1 + t.runtime.now() + 3_600_000 }),
            t.value("", "", { version: v2 }),
          ],
          t,
        ),
      ]);
    },
  },
  {
    id: "merge/stubs-every-order",
    title:
      "puts a value or tombstone over the stub of its version, and a newer stub over both, in every order of arrival",
    unless: all(writable, stubbing),
    async run(t) {
      const [v1, v2] = [t.version(), t.version()];
      await arrive(t, [
        ...orders([t.stub("", { version: v1 }), t.value("", "one", { version: v1 }), t.stub("", { version: v2 })], t),
        ...orders(
          [t.value("", "one", { version: v1 }), t.stub("", { version: v2 }), t.value("", "two", { version: v2 })],
          t,
        ),
        ...orders(
          [t.value("", "one", { version: v1 }), t.stub("", { version: v2 }), t.tombstone("", { version: v2 })],
          t,
        ),
      ]);
    },
  },
  {
    id: "merge/random",
    title: "ends with what the merge rule says after random arrivals, some of them twice",
    unless: writable,
    async run(t) {
      await arrive(
        t,
        Array.from({ length: t.runs }, () => randomArrivals(t)),
      );
    },
  },
  {
    id: "merge/one-call",
    title: "merges several writes of one key in one call, in their order",
    unless: (opened, settings) =>
      writable(opened, settings) ?? (opened.store.supports.batchMax < 4 ? "batches are too small" : undefined),
    async run(t) {
      const key = `${t.prefix()}k`;
      const [v1, v2, v3] = [t.value(key, "one"), t.value(key, "two"), t.value(key, "three")];
      const results = await t.write([v2, v1, v3, v2]);
      same(
        results,
        [
          { status: "stored" },
          { status: "superseded", by: v2.version },
          { status: "stored" },
          { status: "superseded", by: v3.version },
        ],
        "results in the order of the writes",
      );
      answers(await t.readOne(key), v3, "the newest of the call");
    },
  },
  {
    id: "merge/superseded",
    title: "says which version stands in the way of an older write, and keeps it",
    unless: writable,
    async run(t) {
      const key = `${t.prefix()}k`;
      const [older, newer] = [t.tombstone(key), t.value(key, "newer")];
      await t.put([newer]);
      same(await t.write([older]), [{ status: "superseded", by: newer.version }], "an older write");
      answers(await t.readOne(key), newer, "after an older write");
    },
  },
  {
    id: "merge/repeated",
    title: "takes the same write again as stored, and nothing changes",
    unless: writable,
    async run(t) {
      const prefix = t.prefix();
      const entries = [t.value(`${prefix}value`, "x"), t.tombstone(`${prefix}tombstone`)];
      await t.put(entries);
      const before = await t.list({ prefix });
      same(await t.write(entries), [{ status: "stored" }, { status: "stored" }], "the same writes again");
      same(await t.list({ prefix }), before, "keys and tags");
      for (const entry of entries) answers(await t.readOne(entry.key), entry, "after the repeated write");
    },
  },
  {
    id: "merge/collision",
    title: "keeps the greater content where one version was issued twice, in both orders of arrival",
    unless: writable,
    async run(t) {
      const version = t.version();
      await arrive(t, [
        ...orders([t.value("", "a", { version }), t.value("", "b", { version })], t),
        ...orders([t.value("", "a", { version }), t.tombstone("", { version })], t),
        ...orders([t.value("", "a", { version }), t.value("", "a", { version, meta: { x: "1" } })], t),
      ]);
    },
  },
  {
    id: "merge/parallel",
    title: "keeps the newest of 50 writes of one key that are under way at once",
    unless: writable,
    async run(t) {
      const key = `${t.prefix()}k`;
      const entries = Array.from({ length: 50 }, (_, i) => t.value(key, `value ${i}`));
      const asOf = t.runtime.now();
      await Promise.all(t.random.shuffle(entries).map((entry) => t.store.write([{ entry, asOf }])));
      answers(await t.readOne(key), entries.at(-1), "after 50 writes at once");
    },
  },
  {
    id: "merge/low-band",
    title: "ranks a version of the low band below every stamp",
    unless: writable,
    async run(t) {
      const prefix = t.prefix();
      const low = "000000000007-0000-00000000000000aa" as Entry["version"];
      const [first, second] = [`${prefix}first`, `${prefix}second`];
      await t.put([t.value(first, "from a history", { version: low })]);
      const newer = [t.value(first, "stamped"), t.value(second, "stamped")];
      await t.put(newer);
      const late = t.value(second, "from a history", { version: low });
      same(await t.write([late]), [{ status: "superseded", by: newer[1]?.version }], "a low version late");
      const found = await t.read([first, second]);
      for (const [i, answer] of found.entries()) answers(answer, newer[i], "the stamped one");
    },
  },
];

/**
 * Lets every sequence arrive at a key of its own, one arrival per step for all keys in one batch, so that hundreds of
 * sequences cost as many calls as the longest has steps. Then compares with the merge rule itself.
 */
async function arrive(t: Context, sequences: readonly Arrivals[]): Promise<void> {
  const prefix = t.prefix();
  const steps = Math.max(...sequences.map((sequence) => sequence.length));
  const written: Copy[][] = sequences.map((sequence, i) =>
    sequence.map(({ entry, asOf }) => ({ entry: { ...entry, key: `${prefix}${i}` }, asOf })),
  );
  for (let step = 0; step < steps; step++) {
    const writes: Write[] = written.flatMap((copies) => copies[step] ?? []);
    const results = await t.write(writes);
    for (const [i, { status }] of results.entries()) {
      same(
        status === "stored" || status === "superseded",
        true,
        `${status} for arrival ${step + 1} of ${writes[i]?.entry.key}`,
      );
    }
  }
  const found: Answer[] = await t.read(written.map((_, i) => `${prefix}${i}`));
  for (const [i, copies] of written.entries()) {
    const expected = copies.reduce((a, b) => merge(a, b));
    const story = copies.map(({ entry }) => `${entry.state} ${entry.version}`).join(", then ");
    answers(found[i], expected.entry, `after ${story}`);
    if (t.store.supports.asOf === "stored") same(found[i]?.asOf, expected.asOf, `asOf after ${story}`);
  }
}

function orders(entries: readonly Entry[], t: Context): Arrivals[] {
  const now = t.runtime.now();
  const copies = entries.map((entry) => ({ entry, asOf: now - t.random.below(10_000) }));
  return permutations(copies);
}

function permutations<T>(items: readonly T[]): T[][] {
  if (items.length <= 1) return [[...items]];
  return items.flatMap((item, i) => permutations(items.toSpliced(i, 1)).map((rest) => [item].concat(rest)));
}

/** One to five arrivals of up to three versions, each version with one content, as the rules of versions demand. */
function randomArrivals(t: Context): Arrivals {
  const { random, runtime } = t;
  const facts = Array.from({ length: 1 + random.below(3) }, () => randomFact(t));
  return Array.from({ length: 1 + random.below(5) }, () => {
    const fact = random.pick(facts);
    const stubbed = t.store.supports.stubs && random.chance(0.3);
    const entry = stubbed ? t.stub("", { version: fact.version, expires: fact.expires }) : fact;
    return { entry, asOf: runtime.now() - random.below(1_000_000) };
  });
}

function randomFact(t: Context): Entry {
  const { random, runtime } = t;
  const expires = random.chance(0.3) ? runtime.now() + 3_600_000 + random.below(1_000_000) : null;
  const meta: Meta = random.chance(0.3) ? { "content-type": "text/plain", note: `n${random.below(100)}` } : {};
  if (random.chance(0.3)) return t.tombstone("", { expires: null });
  return t.value("", random.bytes(random.below(40)), { expires, meta });
}
