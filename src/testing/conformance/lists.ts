import { compareKeys } from "../../entry.ts";
import type { Entry } from "../../entry.ts";
import { claim, same } from "../assert.ts";
import { all, fillable, stubbing, writable } from "./context.ts";
import type { Check, Context, ListedEntry, Unless } from "./context.ts";

/** Names in the byte order of UTF-8, with what pattern languages and path separators could trip over. */
const NAMES = [
  "",
  "\0",
  "!",
  "%",
  "*",
  "-",
  ".",
  "/",
  "0",
  "?",
  "A",
  "[",
  "\\",
  "_",
  "a",
  "a!",
  "a/",
  "a/b",
  "a0",
  "b",
  "é",
  "\uE000",
  "\u{1F600}",
];

const renewing: Unless = ({ store }) =>
  store.supports.asOf === "stored" ? undefined : "the store keeps no asOf to renew";

export const listChecks: readonly Check[] = [
  {
    id: "lists/order",
    title: "lists every key under a prefix once, in the byte order of UTF-8, and no other",
    unless: fillable,
    async run(t) {
      const { prefix, keys } = await filled(t);
      same(keysOf(await t.list({ prefix })), keys, `keys under ${prefix}`);
    },
  },
  {
    id: "lists/empty",
    title: "lists nothing where nothing is",
    async run(t) {
      if (fillable(t.opened, t) === undefined) await t.put([t.value(t.prefix(), "elsewhere")]);
      same(await t.list({ prefix: t.prefix() }), [], "an unused prefix");
    },
  },
  {
    id: "lists/prefix",
    title: "takes a prefix as plain text: no patterns, no separators, no case",
    unless: fillable,
    async run(t) {
      const { prefix, keys } = await filled(t);
      for (const name of [...NAMES, "a/b/", "B", "\u{10FFFF}", "zz"]) {
        const expected = keys.filter((key) => key.startsWith(prefix + name));
        same(keysOf(await t.list({ prefix: prefix + name })), expected, `keys under ${JSON.stringify(name)}`);
      }
    },
  },
  {
    id: "lists/after",
    title: "resumes after any key, whether it exists, and also outside the prefix",
    unless: fillable,
    async run(t) {
      const { prefix, keys } = await filled(t);
      for (const name of ["", "\0", "A", "a", "a\0", "a/a", "a/b", "ab", "\uFFFF", "\u{1F600}", "\u{10FFFF}"]) {
        const after = prefix + name;
        const expected = keys.filter((key) => compareKeys(key, after) > 0);
        same(keysOf(await t.list({ prefix }, { after })), expected, `keys after ${JSON.stringify(name)}`);
      }
      same(keysOf(await t.list({ prefix }, { after: "\0" })), keys, "after a key below the prefix");
      same(keysOf(await t.list({ prefix }, { after: "\u{10FFFF}" })), [], "after a key above the prefix");
    },
  },
  {
    id: "lists/limit",
    title: "gives at most as many as asked for, so that pages joined are the whole",
    unless: fillable,
    async run(t) {
      const { prefix, keys } = await filled(t);
      for (const limit of [0, 1, 7, keys.length, keys.length + 1]) {
        same(keysOf(await t.list({ prefix }, { limit })), keys.slice(0, limit), `the first ${limit}`);
      }
      const paged: string[] = [];
      for (;;) {
        const page = keysOf(await t.list({ prefix }, { limit: 5, after: paged.at(-1) }));
        if (page.length === 0) break;
        paged.push(...page);
        claim(paged.length <= keys.length, "pages repeat keys");
      }
      same(paged, keys, "all pages");
    },
  },
  {
    id: "lists/details",
    title: "gives heads where entries are asked for, and values too where values are",
    unless: fillable,
    async run(t) {
      const prefix = t.prefix();
      const meta = { "content-type": "text/plain" };
      const expires = t.runtime.now() + 3_600_000;
      const entries = [
        t.value(`${prefix}a`, "one", { meta, expires }),
        t.value(`${prefix}b`, ""),
        t.tombstone(`${prefix}c`),
      ];
      await t.put(entries);
      same(
        (await t.list({ prefix }, { detail: "keys" })).map(({ key }) => key),
        entries.map(({ key }) => key),
        "keys",
      );
      const heads = entries.map(({ key, state, version, expires, meta }) => ({ key, state, version, expires, meta }));
      for (const detail of ["entries", "values"] as const) {
        const listed = await t.list({ prefix }, { detail });
        same(
          listed.map(({ head }) => headOf(head)),
          heads,
          `heads with detail ${detail}`,
        );
      }
      const values = await t.list({ prefix }, { detail: "values" });
      same(
        values.map(({ value }) => value),
        entries.map(({ value }) => value),
        "values",
      );
    },
  },
  {
    id: "lists/fresh",
    title: "sees everything that was stored before the list was asked for",
    unless: writable,
    async run(t) {
      const prefix = t.prefix();
      const [a, b] = [t.value(`${prefix}a`, "x"), t.value(`${prefix}b`, "x")];
      await t.put([b]);
      same(keysOf(await t.list({ prefix })), [b.key], "after the first write");
      await t.put([a]);
      same(keysOf(await t.list({ prefix })), [a.key, b.key], "after the second write");
      const gone = t.tombstone(a.key);
      await t.put([gone]);
      const listed = await t.list({ prefix }, { detail: "entries" });
      same(
        listed.map(({ head }) => head?.version),
        [gone.version, b.version],
        "after the delete",
      );
    },
  },
  {
    id: "lists/tags",
    title: "tags a copy anew when it changes, and only then",
    unless: writable,
    async run(t) {
      const prefix = t.prefix();
      const [x, y] = [`${prefix}x`, `${prefix}y`];
      const other = t.value(y, "other");
      await t.put([other]);
      const seen: string[] = [];
      const states = [t.value(x, "same"), t.value(x, "same"), t.tombstone(x), t.tombstone(x), t.value(x, "same")];
      const first = await tags(t, prefix);
      for (const state of states) {
        await t.put([state]);
        const now = await tags(t, prefix);
        same(now.get(y), first.get(y), "the tag of the copy that did not change");
        claim(!seen.includes(now.get(x) ?? ""), `a tag came again when ${state.state} ${state.version} was stored`);
        seen.push(now.get(x) ?? "");
      }
      await t.write(states);
      same((await tags(t, prefix)).get(x), seen.at(-1), "the tag after older writes");
    },
  },
  {
    id: "lists/tags-of-stubs",
    title: "tags a copy anew when the value of a stub arrives",
    unless: all(writable, stubbing),
    async run(t) {
      const prefix = t.prefix();
      const value = t.value(`${prefix}x`, "x");
      await t.put([t.stub(value.key, { version: value.version })]);
      const before = (await tags(t, prefix)).get(value.key);
      await t.put([value]);
      claim((await tags(t, prefix)).get(value.key) !== before, "the value of the stub kept the stub's tag");
    },
  },
  {
    id: "lists/tags-and-renewal",
    title: "keeps the tag when only asOf is renewed",
    unless: all(writable, renewing),
    async run(t) {
      const prefix = t.prefix();
      const entry = t.value(`${prefix}x`, "x");
      const now = t.runtime.now();
      await t.write([{ entry, asOf: now - 5000 }]);
      const before = await tags(t, prefix);
      await t.write([{ entry, asOf: now }]);
      same(await tags(t, prefix), before, "tags after a renewal");
    },
  },
  {
    id: "lists/while-writing",
    title: "gives every key that is there all along exactly once, in order, while others write",
    unless: writable,
    async run(t) {
      const { prefix, keys } = await filled(t);
      const seen: string[] = [];
      for await (const item of t.store.list({ prefix })) {
        claim(item.kind === "entry", "the list was partial");
        const count = seen.push(item.key);
        if (count === 1) await t.put([t.value(item.key, "behind"), t.value(keys.at(-1) ?? "", "ahead")]);
        if (count === 3)
          await t.put([t.value(`${keys.at(-1)}z`, "new, ahead"), t.value(`${keys[0]}\0a`, "new, behind")]);
        if (count === 5) await t.put([t.tombstone(keys[0] ?? ""), t.tombstone(keys.at(-2) ?? "")]);
      }
      same(seen, seen.toSorted(compareKeys), "the order of the keys");
      same(
        seen.filter((key) => keys.includes(key)),
        keys,
        "the keys that were there all along",
      );
      same(new Set(seen).size, seen.length, "different keys");
    },
  },
  {
    id: "lists/left-early",
    title: "can be left in the middle and listed again",
    unless: fillable,
    async run(t) {
      const { prefix, keys } = await filled(t);
      for await (const item of t.store.list({ prefix })) {
        same(item.kind === "entry" ? item.key : item, keys[0], "the first item");
        break;
      }
      same(keysOf(await t.list({ prefix })), keys, "keys");
    },
  },
];

/** Stores the names under a new prefix, in a mixed order, with neighbours that must not show up. */
async function filled(t: Context): Promise<{ prefix: string; keys: string[] }> {
  const outer = t.prefix();
  const prefix = `${outer}p`;
  const keys = NAMES.map((name) => prefix + name);
  const neighbours = ["o", "o\u{10FFFF}", "q", "P", "P/a"].map((name) => outer + name);
  await t.put(t.random.shuffle([...keys, ...neighbours]).map((key) => t.value(key, "x")));
  return { prefix, keys };
}

function keysOf(items: readonly ListedEntry[]): string[] {
  return items.map(({ key }) => key);
}

function headOf(head: ListedEntry["head"]): unknown {
  if (head === null) return null;
  const { key, state, version, expires, meta } = head;
  return { key, state, version, expires, meta: { ...meta } } satisfies Omit<Entry, "value">;
}

async function tags(t: Context, prefix: string): Promise<Map<string, string>> {
  return new Map((await t.list({ prefix })).map(({ key, tag }) => [key, tag]));
}
