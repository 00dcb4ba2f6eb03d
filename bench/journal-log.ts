/**
 * What the journal's log costs against the bare disk: `npx tsc -p bench && node build/bench/bench/journal-log.js [FOLDER]`.
 * Figures by ratio, each round of the log beside a round of a loop that writes the same bytes in the same groups with
 * `write` and `fdatasync` and does nothing else; the medians of several rounds. docs/journal-format.md has the figures.
 */
import { closeSync, fdatasync, mkdtempSync, openSync, rmSync, write } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { NO_META } from "../src/entry.ts";
import type { Draft, Log } from "../src/journal/log.ts";
import { openLog } from "../src/journal/log.ts";
import { nodeFiles } from "../src/journal/node-files.ts";
import { systemRuntime } from "../src/system.ts";
import { formatVersion } from "../src/version.ts";

const ROUNDS = 9;
const VALUE_BYTES = 180;
const folder = mkdtempSync(join(process.argv[2] ?? tmpdir(), "microsync-bench-"));
const runtime = systemRuntime;
const value = new TextEncoder().encode(JSON.stringify({ name: "Ada", text: "x".repeat(VALUE_BYTES - 24) }));
const meta = Object.freeze({ ...NO_META, "content-type": "application/json" });

function draft(number: number): Draft {
  const key = `users/${100_000 + number}/profile`;
  const version = formatVersion(1.7e12 + number, 0, "00000000000000aa");
  return {
    kind: "write",
    key,
    asOf: 1.7e12 + number,
    entry: { key, state: "value", value, version, expires: null, meta },
  };
}

const median = (numbers: readonly number[]) => numbers.toSorted((a, b) => a - b)[numbers.length >> 1] ?? 0;

/** So many writers, each of which writes again as soon as it was acknowledged. @returns the sizes of the groups. */
async function writers(log: Log, drafts: readonly Draft[], count: number): Promise<number[]> {
  const groups: number[] = [];
  let bytes = log.bytes;
  log.onDurable = () => {
    groups.push(log.bytes - bytes);
    bytes = log.bytes;
  };
  let next = 0;
  const writer = async () => {
    while (next < drafts.length) await log.append([drafts[next++] as Draft]).durable;
  };
  await Promise.all(Array.from({ length: count }, writer));
  return groups;
}

async function bare(fd: number, from: number, groups: readonly number[], bytes: Uint8Array): Promise<number> {
  let at = from;
  for (const size of groups) {
    await new Promise<void>((resolve, reject) => {
      write(fd, bytes, 0, size, at, (error) => (error ? reject(error) : resolve()));
    });
    await new Promise<void>((resolve, reject) => {
      fdatasync(fd, (error) => (error ? reject(error) : resolve()));
    });
    at += size;
  }
  return at;
}

async function throughput(): Promise<void> {
  console.log("writers    log appends/s   bare loop   ratio   bytes a group");
  for (const count of [1, 16, 128, 1024]) {
    const log = await openLog({ files: nodeFiles(join(folder, `log-${count}`)), runtime, segmentBytes: 2 ** 40 });
    const fd = openSync(join(folder, `bare-${count}`), "w");
    const total = count === 1 ? 400 : count * Math.max(40, Math.floor(6000 / count));
    const drafts = Array.from({ length: total }, (_, i) => draft(i));
    const junk = runtime.random(new Uint8Array(65_536));
    const bytes = new Uint8Array(8 * 2 ** 20).map((_, i) => junk[i % junk.length] ?? 0);
    const [ours, theirs, ratios, sizes]: number[][] = [[], [], [], []];
    let at = 0;
    for (let round = 0; round < ROUNDS + 2; round++) {
      const t0 = performance.now();
      const groups = await writers(log, drafts, count);
      const t1 = performance.now();
      at = await bare(fd, at, groups, bytes);
      const t2 = performance.now();
      if (round < 2) continue; // until it is compiled
      ours?.push((total / (t1 - t0)) * 1000);
      theirs?.push((total / (t2 - t1)) * 1000);
      ratios?.push((t2 - t1) / (t1 - t0));
      sizes?.push(groups.reduce((sum, size) => sum + size, 0) / groups.length);
    }
    const figures = [median(ours ?? []).toFixed(0), median(theirs ?? []).toFixed(0)].map((text) => text.padStart(12));
    const percent = `${(100 * median(ratios ?? [])).toFixed(0)} %`;
    console.log(
      String(count).padEnd(11),
      ...figures,
      percent.padStart(7),
      median(sizes ?? [])
        .toFixed(0)
        .padStart(15),
    );
    await log.close();
    closeSync(fd);
  }
}

async function encoding(): Promise<void> {
  const drafts = Array.from({ length: 20_000 }, (_, i) => draft(i));
  const log = await openLog({ files: nodeFiles(join(folder, "encoding")), runtime });
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const t0 = performance.now();
    const appended = drafts.map((one) => log.append([one]).durable);
    times.push(((performance.now() - t0) * 1000) / drafts.length);
    await Promise.all(appended);
  }
  console.log(
    `append, until it returns: ${median(times).toFixed(2)} us each (${log.bytes / (ROUNDS * drafts.length)} bytes)`,
  );
  await log.close();
}

async function opening(): Promise<void> {
  const place = join(folder, "opening");
  const log = await openLog({ files: nodeFiles(place), runtime });
  for (let from = 0; from < 100_000; from += 100) {
    const appends = Array.from({ length: 100 }, (_, i) => log.append([draft(from + i)]).durable);
    await Promise.all(appends);
  }
  const { bytes } = log;
  await log.close();
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const t0 = performance.now();
    const again = await openLog({ files: nodeFiles(place), runtime });
    times.push(performance.now() - t0);
    if (again.recovered.length !== 100_000) throw new Error("records are missing");
    await again.close();
  }
  const [first = 0] = times;
  console.log(
    `open 100,000 records of ${(bytes / 100_000).toFixed(0)} bytes: ${median(times).toFixed(0)} ms (first ${first.toFixed(0)})`,
  );
}

try {
  await encoding();
  await opening();
  await throughput();
} finally {
  rmSync(folder, { recursive: true });
}
