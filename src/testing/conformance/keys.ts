import { KEY_BYTES_MAX, compareKeys } from "../../entry.ts";
import type { Entry } from "../../entry.ts";
import { rejects, same, show } from "../assert.ts";
import { UTF8, answers, fillable, writable } from "./context.ts";
import type { Check, Context, Opened } from "./context.ts";

/** Keys that file systems, git, SQL, URLs, shells or careless code take for something else. Each is a key of its own. */
export const WEIRD_KEYS: readonly string[] = [
  // Paths
  ".",
  "..",
  "...",
  "./x",
  "../x",
  "a/./b",
  "a/../b",
  "a",
  "a/b",
  "a/b/c",
  "a//b",
  "a/",
  "a//",
  "/",
  "//",
  "/a",
  "~",
  "~/x",
  "a/.",
  "a/..",
  // git
  ".git",
  ".git/x",
  ".GIT/x",
  ".Git/config",
  "x/.git/y",
  "git~1",
  ".gitmodules",
  ".gitattributes",
  ".gitignore",
  "HEAD",
  "refs/heads/main",
  "a.lock",
  "a.lock/b",
  "@",
  "@{",
  "a@{1}",
  "-",
  "-x",
  "--all",
  "a..b",
  "a^",
  "a~1",
  "a:b",
  ":",
  ":/x",
  ":(top)x",
  "[ab]",
  // Windows
  "CON",
  "con",
  "con.txt",
  "NUL",
  "COM1",
  "lpt1.txt",
  "aux/x",
  "a.",
  "a ",
  " a",
  "a. .",
  "a./b",
  "a /b",
  "C:\\x",
  "a\\b",
  "\\",
  "a|b",
  "<a>",
  // URLs
  "?",
  "a?b=c",
  "#",
  "a#b",
  "%",
  "%2F",
  "a%2Fb",
  "%00",
  "%zz",
  "&",
  "+",
  " ",
  ";",
  "=",
  "http://x/y",
  // Patterns and quotes
  "*",
  "**",
  "a*b",
  "_",
  "a_b",
  "axb",
  "'",
  '"',
  "`",
  "''",
  "$(x)",
  "${x}",
  "{a,b}",
  "!",
  "(",
  "\\x00",
  "\\n",
  // Control characters
  "\0",
  "a\0b",
  "a\0",
  "\n",
  "a\nb",
  "\r",
  "\r\n",
  "\t",
  "\u0001",
  "\u007f",
  "\u0085",
  "\u2028",
  "\u200b",
  "\ufeff",
  "\ufeffa",
  // JavaScript
  "__proto__",
  "constructor",
  "prototype",
  "toString",
  "hasOwnProperty",
  "undefined",
  "null",
  "0",
  "-0",
  "1",
  "01",
  "1e3",
  "NaN",
  // Unicode: the order of code points is not that of UTF-16, forms are not normalised, case is kept
  "\u{1F600}",
  "\uE000",
  "\uFFFD",
  "\uFFFF",
  "\u{10FFFF}",
  "\u{10000}",
  "\uD7FF",
  "e\u0301",
  "\u00e9",
  "\u212b",
  "\u00c5",
  "A\u030a",
  "README",
  "readme",
  "Readme",
  "stra\u00dfe",
  "strasse",
  "\u0130",
  "i\u0307",
  "\u0131",
  "\uFF21",
  "\u202eabc",
  "\u{1F469}\u200D\u{1F467}",
];

/** Keys at the limits of length. */
export const LONG_KEYS: readonly string[] = [
  "s".repeat(KEY_BYTES_MAX), // one segment, longer than file systems take
  "s".repeat(KEY_BYTES_MAX - 1),
  `${"s".repeat(KEY_BYTES_MAX - 1)}t`,
  "a/".repeat(KEY_BYTES_MAX / 2), // a segment for every second byte
  "\u{1F600}".repeat(KEY_BYTES_MAX / 4),
  "\u00e9".repeat(KEY_BYTES_MAX / 2),
  "\0".repeat(KEY_BYTES_MAX),
  "%".repeat(KEY_BYTES_MAX), // triples in length when escaped
  `${"d".repeat(255)}/${"e".repeat(256)}`,
];

export const keyChecks: readonly Check[] = [
  {
    id: "keys/weird",
    title: "keeps every well-formed key apart from every other, and lists them in the byte order of UTF-8",
    unless: fillable,
    run: (t) => roundTrip(t, [...WEIRD_KEYS, ...LONG_KEYS]),
  },
  {
    id: "keys/random",
    title: "keeps random keys of few, easily confused characters apart",
    unless: fillable,
    async run(t) {
      const alphabet = ["/", ".", "a", "A", "%", "~", " ", "\uE000", "\u{1F600}", "\u0301", "\0", "-"];
      const key = () => Array.from({ length: 1 + t.random.below(8) }, () => t.random.pick(alphabet)).join("");
      await roundTrip(t, [...new Set(Array.from({ length: 4 * t.runs }, key))]);
    },
  },
  {
    id: "keys/absent-neighbours",
    title: "does not answer for a key with the entry of one that looks like it",
    unless: fillable,
    async run(t) {
      const prefix = t.prefix();
      await t.put([t.value(`${prefix}a/b`, "x"), t.value(`${prefix}Straße`, "x"), t.value(`${prefix}\u00e9`, "x")]);
      const others = [
        "",
        "a",
        "a/",
        "a/b/",
        "a//b",
        "A/b",
        "a/B",
        "a%2Fb",
        "a\\b",
        "straße",
        "Strasse",
        "e\u0301",
        "é ",
        "a/b\0",
      ];
      const found = await t.read(others.map((key) => prefix + key));
      for (const [i, answer] of found.entries()) answers(answer, undefined, show(others[i]));
    },
  },
  {
    id: "keys/tombstone-beside-folder",
    title: "takes a key and its folder in any order, and deletes the one without the other",
    unless: writable,
    async run(t) {
      const prefix = t.prefix();
      const [file, inside] = [t.value(`${prefix}k`, "file"), t.value(`${prefix}k/l/m`, "inside")];
      await t.put([inside]);
      await t.put([file]);
      const gone = t.tombstone(file.key);
      await t.put([gone]);
      answers(await t.readOne(inside.key), inside, "inside, after the folder's own key was deleted");
      answers(await t.readOne(file.key), gone, "the deleted key");
      const back = t.value(file.key, "back");
      await t.put([back, t.tombstone(inside.key)]);
      answers(await t.readOne(file.key), back, "the key, after what was inside was deleted");
    },
  },
  {
    id: "keys/malformed",
    title: "refuses keys that are empty or not well-formed, in every verb, before any effect",
    async run(t) {
      const good = `${t.prefix()}good`;
      for (const bad of ["", "\uD800", "a\uDC00b", "\uDE00\uD83D"]) await refuses(t, good, bad, "INVALID");
    },
  },
  {
    id: "keys/too-long",
    title: "refuses keys above the largest size, counted in bytes, in every verb, before any effect",
    async run(t) {
      const { keyBytesMax } = t.store.supports;
      const good = `${t.prefix()}good`;
      await refuses(t, good, "k".repeat(keyBytesMax + 1), "TOO_LARGE");
      await refuses(t, good, "\u00e9".repeat(Math.floor(keyBytesMax / 2) + 1), "TOO_LARGE");
    },
  },
];

async function roundTrip(t: Context, candidates: readonly string[]): Promise<void> {
  const opened = await t.fresh();
  const keys = candidates.filter((key) => UTF8.encode(key).length <= opened.store.supports.keyBytesMax);
  // In an order that is not the one expected back.
  const entries = t.random.shuffle(keys).map((key) => t.value(key, `value of ${show(key)}`));
  await t.put(entries, opened);
  await holds(t, opened, entries);
  if (opened.reopen !== undefined) await holds(t, await t.reopen(opened), entries);
}

async function holds(t: Context, { store }: Opened, entries: readonly Entry[]): Promise<void> {
  const found = await t.read(
    entries.map(({ key }) => key),
    store,
  );
  for (const [i, entry] of entries.entries()) answers(found[i], entry, `the key ${show(entry.key)}`);
  const ordered = entries.toSorted((a, b) => compareKeys(a.key, b.key));
  const listed = await t.list({ prefix: "" }, { detail: "values" }, store);
  same(
    listed.map(({ key }) => key),
    ordered.map(({ key }) => key),
    "keys in a list",
  );
  for (const [i, entry] of ordered.entries())
    same(listed[i]?.value, entry.value, `value of ${show(entry.key)} in a list`);
}

async function refuses(t: Context, good: string, bad: string, code: "INVALID" | "TOO_LARGE"): Promise<void> {
  const { store } = t;
  const version = t.version();
  const asOf = t.runtime.now();
  // The bad one last, so that a store that checks as it goes has done the good one.
  const keys = store.supports.batchMax < 2 ? [bad] : [good, bad];
  const writes = keys.map((key) => ({ entry: t.value(key, "x"), asOf }));
  const items = keys.map((key) => ({ key, version, reason: "ghost" }) as const);
  await rejects(code, () => store.read(keys), `read of ${show(bad)}`);
  await rejects(code, () => store.write(writes), `write of ${show(bad)}`);
  await rejects(code, () => store.forget(items), `forget of ${show(bad)}`);
  answers(await t.readOne(good), undefined, "the good key beside the bad one");
}
