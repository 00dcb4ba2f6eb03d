import { beforeAll, describe, expect, it } from "vitest";
import { random, simulatedFiles, simulatedRuntime } from "microsync/testing";
import { SyncError } from "../../src/error.ts";
import type { Files } from "../../src/journal/files.ts";
import { inspectLog } from "../../src/journal/inspect.ts";
import type { Inspected } from "../../src/journal/inspect.ts";
import { openLog } from "../../src/journal/log.ts";
import type { Indexed, Log } from "../../src/journal/log.ts";
import { formatManifest, parseManifest } from "../../src/journal/manifest.ts";
import { sealRecord, unsealRecord } from "../../src/journal/record.ts";
import { HEADER_BYTES, decodeHeader, saltChecksum } from "../../src/journal/segment.ts";
import { draftOf } from "./world.ts";

/** What becomes of damaged files: a torn tail is cut, everything else is refused, and nothing wrong is ever read. */
const runtime = simulatedRuntime({ seed: 1 });
const SEGMENT_BYTES = 500;
type Bytes = Readonly<Record<string, Uint8Array>>;

async function put(contents: Bytes): Promise<Files> {
  const files = simulatedFiles({ seed: 1 });
  for (const [name, bytes] of Object.entries(contents)) {
    const file = await files.create(name);
    await file.append(bytes);
    await file.sync();
    await file.close();
  }
  await files.syncFolder();
  return files;
}

async function take(files: Files): Promise<Record<string, Uint8Array>> {
  const contents: Record<string, Uint8Array> = {};
  for (const name of [...(await files.list())].sort())
    contents[name] = await files.read(name, 0, await files.size(name));
  return contents;
}

interface Sample {
  readonly contents: Bytes;
  readonly records: readonly Indexed[];
  /** How many records are left when the last group is not there. */
  readonly withoutLast: number;
}

/** A log of three segments with two groups each. */
async function sample(end: "closed" | "killed"): Promise<Sample> {
  const files = simulatedFiles({ seed: 1 });
  const chance = random(7);
  const log = await openLog({ files, runtime, segmentBytes: SEGMENT_BYTES });
  let number = 0;
  let withoutLast = 0;
  for (let group = 0; group < 6; group++) {
    withoutLast = number;
    await log.append([draftOf(chance, ++number, 60), draftOf(chance, ++number, 60)]).durable;
  }
  if (end === "closed") await log.close();
  const contents = await take(files);
  const again = await openLog({ files: await put(contents), runtime });
  const recovered = [...again.recovered];
  await again.close();
  return { contents, records: recovered, withoutLast };
}

const open = async (contents: Bytes): Promise<Log> => openLog({ files: await put(contents), runtime });

const bare = ({ kind, seq, key, asOf, note, head, valueBytes }: Indexed) => {
  return { kind, seq, key, asOf, note: [...note], head, valueBytes };
};

async function refusal(contents: Bytes): Promise<SyncError> {
  const error = await open(contents).catch((error: unknown) => error);
  if (!(error instanceof SyncError)) throw new Error("it was opened");
  return error;
}

function changed(contents: Bytes, file: string, change: (bytes: Uint8Array) => Uint8Array | void): Bytes {
  const bytes = (contents[file] ?? new Uint8Array(0)).slice();
  return { ...contents, [file]: change(bytes) ?? bytes };
}

async function inspected(contents: Bytes): Promise<Inspected[]> {
  const parts: Inspected[] = [];
  for await (const part of inspectLog(await put(contents))) parts.push(part);
  return parts;
}

let closed: Sample;
let killed: Sample;
let segmentNames: string[];
beforeAll(async () => {
  closed = await sample("closed");
  killed = await sample("killed");
  segmentNames = Object.keys(closed.contents).filter((name) => name.endsWith(".log"));
});

describe("a damaged log", () => {
  it("is read back whole when it is not", async () => {
    expect(segmentNames.length).toBe(3);
    for (const { contents, records } of [closed, killed]) {
      expect(records.length).toBe(12);
      const log = await open(contents);
      for (const { head, key, place } of log.recovered) {
        if (head !== null) expect((await log.read(place, key)).version).toBe(head.version);
      }
    }
  });

  // Mutations: a field left out of a checksum; a torn tail looked for without later marks.
  it(
    "is refused, naming the file and the place, for any flipped bit of what was closed",
    { timeout: 60_000 },
    async () => {
      for (const [file, bytes] of Object.entries(closed.contents)) {
        for (let at = 0; at < bytes.length; at++) {
          const bit = 1 << (at % 8);
          const error = await refusal(
            changed(closed.contents, file, (copy) => void (copy[at] = (copy[at] ?? 0) ^ bit)),
          );
          expect([error.code, file, at]).toEqual(["CORRUPT", file, at]);
          expect(error.message).toContain(file);
          const [, told = "0"] = /at offset (\d+)/.exec(error.message) ?? [];
          expect(Number(told)).toBeLessThanOrEqual(at);
          expect(error.cure).toMatch(/rescue|version that wrote it/);
        }
      }
    },
  );

  it(
    "loses at most its last group, and only when it was not closed, to a flipped bit",
    { timeout: 60_000 },
    async () => {
      const last = segmentNames.at(-1) ?? "";
      let cut = 0;
      for (const [file, bytes] of Object.entries(killed.contents)) {
        for (let at = 0; at < bytes.length; at++) {
          const contents = changed(
            killed.contents,
            file,
            (copy) => void (copy[at] = (copy[at] ?? 0) ^ (1 << (at % 8))),
          );
          const log = await open(contents).catch((error: SyncError) => error);
          if (log instanceof SyncError) {
            expect([log.code, log.message]).toEqual(["CORRUPT", expect.stringContaining(file)]);
            continue;
          }
          cut++;
          expect(file).toBe(last);
          expect([...log.recovered].map(bare)).toEqual(killed.records.slice(0, killed.withoutLast).map(bare));
        }
      }
      expect(cut).toBeGreaterThan(50);
    },
  );

  it("is cut at the last whole group wherever it was torn, and works on", { timeout: 60_000 }, async () => {
    const last = segmentNames.at(-1) ?? "";
    const { length } = killed.contents[last] ?? new Uint8Array(0);
    let lengths = 0;
    for (let end = HEADER_BYTES; end < length; end++) {
      const log = await open(changed(killed.contents, last, (bytes) => bytes.slice(0, end)));
      expect([...log.recovered].map(bare)).toEqual(killed.records.slice(0, log.recovered.length).map(bare));
      expect(log.recovered.length % 2).toBe(0);
      lengths += log.recovered.length;
      const { first, durable } = log.append([draftOf(random(1), 99, 60)]);
      await durable;
      expect(first).toBe(log.recovered.length + 1);
    }
    expect(lengths).toBeGreaterThan(0);
  });

  it("is refused when a segment is gone that the journal did not remove", async () => {
    for (const name of segmentNames) {
      const { [name]: _, ...others } = closed.contents;
      const error = await refusal(others);
      expect([error.code, error.message]).toEqual(["CORRUPT", expect.stringContaining(`${name} at offset 0`)]);
    }
    const { segments: _, ...without } = closed.contents;
    expect(await refusal(without)).toMatchObject({ code: "CORRUPT", message: expect.stringContaining("newer than") });
  });

  it("is refused when segments were exchanged or come from another log", async () => {
    const [a = "", b = ""] = segmentNames;
    const swapped = {
      ...closed.contents,
      [a]: closed.contents[b] ?? new Uint8Array(),
      [b]: closed.contents[a] ?? new Uint8Array(),
    };
    expect((await refusal(swapped)).message).toContain("not the one that belongs here");
    const foreign = { ...closed.contents, [a]: killed.contents[a]?.slice() ?? new Uint8Array() };
    foreign[a]?.set(new Uint8Array(8), 8); // another salt, with the checksum of the first
    expect((await refusal(foreign)).code).toBe("CORRUPT");
  });

  it("is not fooled by a value that holds records and commit marks of the same log", async () => {
    const last = segmentNames.at(-1) ?? "";
    const files = await put(killed.contents);
    const log = await openLog({ files, runtime });
    const value = (await take(files))[last]?.slice() ?? new Uint8Array();
    const entry = {
      ...(await log.read(firstWithEntry(log).place, firstWithEntry(log).key)),
      state: "value",
      value,
    } as const;
    await log.append([{ kind: "write", key: entry.key, asOf: 1, entry }]).durable;
    const contents = await take(files);
    // The group that holds it is torn in its last byte: the marks within the value are no marks.
    const newest =
      Object.keys(contents)
        .filter((name) => name.endsWith(".log"))
        .sort()
        .at(-1) ?? "";
    const torn = changed(contents, newest, (bytes) => bytes.slice(0, -1));
    expect((await open(torn)).recovered.length).toBe(killed.records.length);
  });

  // Mutation: the records of a group not compared with its mark. A number may be given out again after a restart, so
  // what an earlier process wrote at the same place under the same number must not pass.
  it("does not take another whole record for the one that was committed", async () => {
    const forged = resealed(killed.contents, segmentNames.at(-1) ?? "", (view) => view.setInt8(HEADER_BYTES + 31, 1));
    expect((await refusal(forged)).message).toContain("speaks of other records");
  });

  it("names a kind of record that it does not know", async () => {
    const error = await refusal(
      resealed(killed.contents, segmentNames.at(-1) ?? "", (view) => view.setInt8(HEADER_BYTES + 8, 9)),
    );
    expect(error).toMatchObject({
      code: "CORRUPT",
      message: expect.stringContaining("of kind 9"),
      cure: expect.stringContaining("version that wrote it"),
    });
  });

  it("with a list of segments in another format is refused by that format", () => {
    const text = formatManifest({ next: 2, segments: [{ number: 1, end: 48, salt: new Uint8Array(8) }] });
    expect(parseManifest(text)).toEqual({ next: 2, segments: [{ number: 1, end: 48, salt: new Uint8Array(8) }] });
    expect(parseManifest(text.replace("journal 1", "journal 2"))).toContain("format 2");
    expect(parseManifest(text.replace("48", "49"))).toContain("checksum");
  });
});

/** Changes the first record of a segment and gives it a checksum that is right. */
function resealed(contents: Bytes, file: string, change: (view: DataView) => void): Bytes {
  return changed(contents, file, (bytes) => {
    const view = new DataView(bytes.buffer);
    const header = decodeHeader(bytes);
    if (typeof header === "string") throw new Error(header);
    change(view);
    unsealRecord(view, HEADER_BYTES);
    sealRecord(view, HEADER_BYTES, saltChecksum(header.salt));
  });
}

function firstWithEntry(log: Log): Indexed {
  const found = [...log.recovered].find(({ head }) => head !== null);
  if (found === undefined) throw new Error("no record has an entry");
  return found;
}

describe("inspectLog", () => {
  it("shows everything of a log that is whole, in order", async () => {
    const parts = await inspected(closed.contents);
    expect(parts.filter(({ ok }) => !ok)).toEqual([]);
    const records = parts.flatMap((part) => (part.kind === "record" ? [part] : []));
    expect(records.map(({ record }) => bare(record))).toEqual(closed.records.map(bare));
    expect(records.every(({ committed }) => committed)).toBe(true);
    expect(parts.flatMap((part) => (part.kind === "segment" ? [part.file] : []))).toEqual(segmentNames);
  });

  it("loses one record to a flipped bit at most, names the range, and never throws", { timeout: 60_000 }, async () => {
    for (const [file, bytes] of Object.entries(closed.contents)) {
      for (let at = 0; at < bytes.length; at += 3) {
        const parts = await inspected(changed(closed.contents, file, (copy) => void (copy[at] = (copy[at] ?? 0) ^ 4)));
        const seqs = parts.flatMap((part) => (part.kind === "record" ? [part.record.seq] : []));
        expect(seqs.length).toBeGreaterThanOrEqual(closed.records.length - 1);
        const damage = parts.flatMap((part) => (part.kind === "damage" ? [part] : []));
        expect(damage.length, `${file} ${at}`).toBe(1);
        expect(damage[0]?.file).toBe(file);
        expect(damage[0]?.at).toBeLessThanOrEqual(at);
        expect((damage[0]?.at ?? 0) + (damage[0]?.length ?? 0)).toBeGreaterThan(at);
      }
    }
  });

  it("goes by the headers when the list of segments is gone, and by the list when a header is", async () => {
    const { segments: _, ...without } = closed.contents;
    const parts = await inspected(without);
    expect(parts.filter(({ kind }) => kind === "record").length).toBe(closed.records.length);
    expect(parts[0]).toMatchObject({ kind: "damage", file: "segments", reason: expect.stringContaining("not there") });
    const [first = ""] = segmentNames;
    const headless = await inspected(changed(closed.contents, first, (bytes) => void bytes.fill(0, 0, HEADER_BYTES)));
    expect(headless.filter(({ kind }) => kind === "record").length).toBe(closed.records.length);
    const { [first]: __, ...gone } = closed.contents;
    expect((await inspected(gone))[0]).toMatchObject({ kind: "damage", file: first, at: 0 });
  });

  it("tells a torn tail from records that were committed", async () => {
    const last = segmentNames.at(-1) ?? "";
    const parts = await inspected(changed(killed.contents, last, (bytes) => bytes.slice(0, -1)));
    const records = parts.flatMap((part) => (part.kind === "record" ? [part] : []));
    expect(records.map(({ committed }) => committed)).toEqual(records.map((_, i) => i < killed.withoutLast));
    expect(records.length).toBe(killed.records.length);
    expect(parts.at(-1)).toMatchObject({ kind: "damage", reason: expect.stringContaining("torn tail") });
  });
});
