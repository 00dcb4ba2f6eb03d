import { describe, expect, it } from "vitest";
import { NO_META } from "../../src/entry.ts";
import { Heads } from "../../src/journal/heads.ts";
import { putRecord, sealRecord, skimRecord } from "../../src/journal/record.ts";
import type { Draft } from "../../src/journal/record.ts";
import { VERSION_ZERO } from "../../src/version.ts";

const FILE_AT = 5000;
const meta = { ...NO_META, "content-type": "text/plain", lang: "en" };

function write(key: string, valueBytes: number, expires: number | null = null): Draft {
  const value = new Uint8Array(valueBytes).fill(7);
  return { kind: "write", key, asOf: 12, entry: { key, state: "value", value, version: VERSION_ZERO, expires, meta } };
}

const decision: Draft = { kind: "decision", key: "d", asOf: 1, entry: null, note: Uint8Array.of(9) };

/** These records, read as from a segment. @returns also the bytes they were read from. */
function readFrom(drafts: readonly Draft[]) {
  const bytes = new Uint8Array(1 << 20);
  const heads = new Heads();
  const view = heads.begin(bytes, 3, FILE_AT);
  let at = 0;
  for (const [seq, draft] of drafts.entries()) {
    const end = putRecord(draft, seq + 1, bytes, view, at);
    sealRecord(view, at, 0);
    expect(skimRecord(view, at, end - at, heads)).toBeUndefined();
    at = end;
  }
  heads.end(at);
  return { heads, bytes };
}

const all = (heads: Heads) =>
  [...heads].map(({ kind, seq, key, keyCrc, asOf, note, head, valueBytes, place }) => {
    return { kind, seq, key, keyCrc, asOf, note, head, valueBytes, place };
  });

describe("the heads of records", () => {
  // Mutations: never copied; the place of a copy counted from the bytes; the end of a head without its expiry.
  it("say the same whether they were copied out of large values or kept with small ones", () => {
    const small = [write("a", 20), write("b/c", 30, 99), decision, write("é", 0)];
    const large = [write("a", 20_000), write("b/c", 30_000, 99), decision, write("é", 0)];
    const [kept, copied] = [readFrom(small), readFrom(large)];
    const before = [all(kept.heads), all(copied.heads)];
    const bare = before.map((records) => records.map((record) => ({ ...record, place: 0, valueBytes: 0 })));
    expect(bare[1]).toEqual(bare[0]);
    expect(before[1]?.map(({ valueBytes }) => valueBytes)).toEqual([20_000, 30_000, 0, 0]);
    for (const records of before) {
      let at = FILE_AT;
      for (const { place } of records ?? []) {
        expect(place).toMatchObject({ segment: 3, at });
        at += place.length;
      }
    }
    for (const { bytes } of [kept, copied]) bytes.fill(0);
    expect(all(copied.heads)).toEqual(before[1]);
    expect(all(kept.heads)).not.toEqual(before[0]);
  });

  // Mutation: a decision that was forgotten stays among the conditional ones.
  it("forget what is no part of the log", () => {
    const { heads } = readFrom([write("a", 1), decision, write("b", 1), decision]);
    expect(heads.conditional).toEqual([1, 3]);
    heads.truncate(3);
    expect(heads.conditional).toEqual([1]);
    expect(all(heads).map(({ key }) => key)).toEqual(["a", "d", "b"]);
    heads.clear();
    expect([all(heads), heads.conditional]).toEqual([[], []]);
  });

  // Mutation: the columns grow without what was in them.
  it("are found by their number, however many there are", () => {
    const drafts = Array.from({ length: 3000 }, (_, i) => write(`k${i}`, 1));
    const { heads } = readFrom(drafts);
    expect(all(heads).map(({ key, seq }) => `${key} ${seq}`)).toEqual(drafts.map(({ key }, i) => `${key} ${i + 1}`));
    expect(heads.at(2999).keyCrc).toBe(heads.keyCrc(2999));
  });
});
