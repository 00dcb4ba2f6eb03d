import type { Meta } from "../../entry.ts";
import { META_BYTES_MAX } from "../../entry.ts";
import { same } from "../assert.ts";
import { UTF8, all, answers, fillable, writable } from "./context.ts";
import type { Check, Context } from "./context.ts";

export const valueChecks: readonly Check[] = [
  {
    id: "values/bytes",
    title: "gives back every value byte for byte",
    unless: fillable,
    async run(t) {
      const prefix = t.prefix();
      const entries = Object.entries(contents(t)).map(([name, bytes]) => t.value(prefix + name, bytes));
      await t.put(entries);
      const found = await t.read(entries.map(({ key }) => key));
      for (const [i, entry] of entries.entries()) answers(found[i], entry, entry.key);
    },
  },
  {
    id: "values/meta",
    title: "gives back metadata exactly",
    unless: fillable,
    async run(t) {
      const prefix = t.prefix();
      const sets: Meta[] = [
        {},
        { "content-type": "application/json" },
        { a: "", b: " ", c: "\r\n\0\t", d: "ünïcödé 🚀 \uE000", e: '"%2F\\' },
        { constructor: "own", "to-string": "own", 0: "number", "-": "dash" },
        { long: "x".repeat(META_BYTES_MAX - 4) },
        Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`n${i}`, String(i)])),
      ];
      const entries = sets.flatMap((meta, i) => [
        t.value(`${prefix}value${i}`, "x", { meta }),
        t.tombstone(`${prefix}tombstone${i}`, { meta }),
      ]);
      await t.put(entries);
      const found = await t.read(entries.map(({ key }) => key));
      for (const [i, entry] of entries.entries()) answers(found[i], entry, entry.key);
      const listed = await t.list({ prefix }, { detail: "entries" });
      for (const { key, head } of listed) {
        same(head?.meta, entries.find((entry) => entry.key === key)?.meta, `metadata of ${key} in a list`);
      }
    },
  },
  {
    id: "values/version-and-expiry",
    title: "gives back version and expiry to the last digit",
    unless: fillable,
    async run(t) {
      const prefix = t.prefix();
      const node = "ffffffffffffffff";
      const ms = (t.runtime.now() - 1000).toString(16).padStart(12, "0");
      const versions = [`${ms}-0000-${node}`, `${ms}-ffff-0000000000000000`, `${ms}-7fff-8000000000000001`];
      const later = t.runtime.now() + 3_600_000;
      const expiries = [later, later + 1, later + 999, 253_402_300_799_999, Number.MAX_SAFE_INTEGER];
      const entries = expiries.map((expires, i) => {
        const version = versions[i % versions.length] as ReturnType<typeof t.version>;
        return t.value(`${prefix}${i}`, "x", { expires, version });
      });
      await t.put(entries);
      const found = await t.read(entries.map(({ key }) => key));
      for (const [i, entry] of entries.entries()) answers(found[i], entry, `expires ${entry.expires}`);
    },
  },
  {
    id: "values/at-the-limit",
    title: "takes a value of exactly the largest size",
    unless: all(fillable, ({ store }, { valueBytesBound }) =>
      store.supports.valueBytesMax > valueBytesBound ? "the largest size is above the suite's bound" : undefined,
    ),
    async run(t) {
      const entry = t.value(`${t.prefix()}k`, t.random.bytes(t.store.supports.valueBytesMax));
      await t.put([entry]);
      answers(await t.readOne(entry.key), entry, `${t.store.supports.valueBytesMax} bytes`);
    },
  },
  {
    id: "values/above-the-limit",
    title: "refuses a value one byte above the largest size, and stores the others of the call",
    unless: all(writable, ({ store }, { valueBytesBound }) =>
      store.supports.valueBytesMax > valueBytesBound ? "the largest size is above the suite's bound" : undefined,
    ),
    async run(t) {
      const prefix = t.prefix();
      const [a, b] = [t.value(`${prefix}a`, ""), t.value(`${prefix}b`, "")];
      const big = t.value(`${prefix}big`, new Uint8Array(t.store.supports.valueBytesMax + 1));
      const results = await t.write([a, big, b]);
      same(results.map(outcome), ["stored", "failed TOO_LARGE", "stored"], "results");
      const found = await t.read([a.key, big.key, b.key]);
      for (const [i, entry] of [a, undefined, b].entries()) answers(found[i], entry, `key ${i} of the call`);
    },
  },
  {
    id: "values/old-value-behind-a-refused-one",
    title: "keeps the old entry when a newer value is refused for its size",
    unless: all(writable, ({ store }, { valueBytesBound }) =>
      store.supports.valueBytesMax > valueBytesBound ? "the largest size is above the suite's bound" : undefined,
    ),
    async run(t) {
      const key = `${t.prefix()}k`;
      const old = t.value(key, "");
      await t.put([old]);
      const big = t.value(key, new Uint8Array(t.store.supports.valueBytesMax + 1));
      same((await t.write([big])).map(outcome), ["failed TOO_LARGE"], "results");
      answers(await t.readOne(key), old, "after the refused write");
    },
  },
  {
    id: "values/own-bytes",
    title: "keeps its own bytes when the caller reuses those it gave",
    unless: writable,
    async run(t) {
      const key = `${t.prefix()}k`;
      const bytes = UTF8.encode("before");
      const entry = t.value(key, bytes);
      await t.put([entry]);
      bytes.fill(0x21);
      const expected = { ...entry, value: UTF8.encode("before") };
      answers(await t.readOne(key), expected, "after the caller changed the bytes it gave");
    },
  },
];

export function outcome(result: { readonly status: string; readonly error?: { readonly code: string } }): string {
  return result.error === undefined ? result.status : `${result.status} ${result.error.code}`;
}

function contents(t: Context): Record<string, Uint8Array> {
  const { valueBytesMax } = t.store.supports;
  const all: Record<string, Uint8Array> = {
    empty: new Uint8Array(0),
    "one zero": new Uint8Array(1),
    newlines: UTF8.encode("a\r\nb\nc\rd\r\n"),
    "ends without newline": UTF8.encode("a"),
    "byte order mark": UTF8.encode("\uFEFFtext"),
    "every byte": Uint8Array.from({ length: 256 }, (_, i) => i),
    "not utf-8": Uint8Array.of(0xc3, 0x28, 0xff, 0xfe, 0xed, 0xa0, 0x80),
    "looks like a git object": UTF8.encode("blob 4\0tree"),
    "looks like a pointer": UTF8.encode("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
    "looks like SQL": UTF8.encode("'; DROP TABLE entries; -- \\x00"),
    "a view into a larger buffer": new Uint8Array(64).fill(7).subarray(10, 20),
    "64 KiB of noise": t.random.bytes(65_536),
    "64 KiB of one byte": new Uint8Array(65_536).fill(0x20),
  };
  return Object.fromEntries(Object.entries(all).filter(([, bytes]) => bytes.length <= valueBytesMax));
}
