/**
 * Durable acknowledged writes a second through a chain with a journal, next to what the disk can do in the same run: a
 * loop that writes the same bytes in the same groups with `write` and `fdatasync` and does nothing else; and to lmdb's
 * own durable puts. Medians of several rounds, with the least and the most. docs/journal.md has the figures.
 *
 *     npm run bench:journal -- [--json] [--folder FOLDER] [--writers COUNT] [--git WRITES]
 *
 * `--git` sends so many writes over 10,000 keys through a journal into a git repository, and counts its work.
 */
import { execFileSync } from "node:child_process";
import {
  closeSync,
  fdatasync,
  mkdtempSync,
  openSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  write,
} from "node:fs";
import { cpus, release, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { open as openLmdb } from "lmdb";
import { chain } from "../src/chain/chain.ts";
import type { Chain } from "../src/chain/chain.ts";
import { layer } from "../src/chain/layer.ts";
import { NO_META } from "../src/entry.ts";
import { openJournal } from "../src/journal/open.ts";
import type { Files, OpenFile } from "../src/journal/files.ts";
import { nodeFiles } from "../src/journal/node-files.ts";
import { STORED } from "../src/store.ts";
import type { Answer, Store } from "../src/store.ts";
import { git } from "../src/stores/git/index.ts";
import { memory } from "../src/stores/memory.ts";
import { syncOver } from "../src/sync.ts";
import { systemRuntime } from "../src/system.ts";
import { versionClock } from "../src/version.ts";

const ROUNDS = 21;
const WARM_UP = 2;
const WRITERS = [1, 16, 128, 1024];
const KEYS = 10_000;
const VALUE_BYTES = 180;
const { values: flags } = parseArgs({
  options: {
    json: { type: "boolean", default: false },
    folder: { type: "string" },
    git: { type: "string" },
    writers: { type: "string" },
  },
});
const folder = mkdtempSync(join(flags.folder ?? tmpdir(), "microsync-bench-"));
const runtime = systemRuntime;
const keys = Array.from({ length: KEYS }, (_, i) => `users/${100_000 + i}/profile`);
const object = { name: "Ada", text: "x".repeat(VALUE_BYTES - 24) };
const value = new TextEncoder().encode(JSON.stringify(object));
const meta = Object.freeze({ ...NO_META, "content-type": "application/json" });
const keyOf = (number: number): string => keys[(number * 7919) % KEYS] as string;

/** A store of record that costs nothing and keeps nothing. */
function nothing(): Store {
  const absent = (): Answer => ({
    entry: undefined,
    asOf: runtime.now(),
    complete: true,
    stale: false,
    from: "nothing",
  });
  return {
    name: "nothing",
    supports: {
      ...memory({ runtime }).supports,
      conditional: false,
      shared: true,
      durable: true,
      batchMax: 10_000,
      stubs: false,
    },
    read: (asked) => Promise.resolve(asked.map(absent)),
    write: (writes) => Promise.resolve(writes.map(() => STORED)),
    forget: () => Promise.resolve(),
    async *list() {},
    async *watch() {},
    close: () => Promise.resolve(),
  };
}

/** The files, which tell how many bytes each append to a segment has. */
function counted(inner: Files, groups: number[]): Files {
  const file = (opened: OpenFile): OpenFile => ({
    append: (bytes) => opened.append(bytes),
    appendSynced(bytes) {
      groups.push(bytes.length);
      return opened.appendSynced(bytes);
    },
    sync: () => opened.sync(),
    truncate: (length) => opened.truncate(length),
    close: () => opened.close(),
  });
  return {
    ...inner,
    create: async (name) => file(await inner.create(name)),
    open: async (name) => file(await inner.open(name)),
  };
}

async function openChain(name: string, groups: number[], store: Store, options = {}): Promise<Chain> {
  const journal = await openJournal({ files: counted(nodeFiles(join(folder, name)), groups), runtime });
  const clock = await versionClock({ runtime });
  return chain([layer(memory({ runtime })), layer(store, options)], { runtime, clock, journal });
}

/** So many writers, each of which writes again as soon as it was answered. @returns milliseconds. */
async function timed(total: number, count: number, one: (number: number) => Promise<unknown>): Promise<number> {
  let next = 0;
  const writer = async () => {
    while (next < total) await one(next++);
  };
  const began = performance.now();
  await Promise.all(Array.from({ length: count }, writer));
  return performance.now() - began;
}

const junk = new Uint8Array(8 * 2 ** 20).map((_, i) => (i * 2654435761) >>> 13);

/** The same groups, with nothing around them. @returns milliseconds. */
async function bare(fd: number, at: { end: number }, groups: readonly number[]): Promise<number> {
  const began = performance.now();
  for (const size of groups) {
    await new Promise<void>((resolve, reject) => {
      write(fd, junk, 0, size, at.end, (error) => (error ? reject(error) : resolve()));
    });
    await new Promise<void>((resolve, reject) => {
      fdatasync(fd, (error) => (error ? reject(error) : resolve()));
    });
    at.end += size;
  }
  return performance.now() - began;
}

interface Spread {
  readonly median: number;
  readonly least: number;
  readonly most: number;
}

function spread(numbers: readonly number[]): Spread {
  const sorted = numbers.toSorted((a, b) => a - b);
  return { median: sorted[sorted.length >> 1] ?? 0, least: sorted[0] ?? 0, most: sorted.at(-1) ?? 0 };
}

/** Writes a second, and how that stands to the loop's. */
interface Figures {
  readonly writers: number;
  readonly chain: Spread;
  readonly chainOfRaw: Spread;
  readonly set: Spread;
  readonly setOfRaw: Spread;
  readonly raw: Spread;
  readonly lmdb: Spread;
  readonly writesAGroup: number;
}

async function measure(writers: number): Promise<Figures> {
  const groups: number[] = [];
  const own = await openChain(`chain-${writers}`, groups, nothing());
  const other = await openChain(`set-${writers}`, groups, nothing());
  const db = syncOver(other);
  const lmdb = openLmdb({ path: join(folder, `lmdb-${writers}`), encoding: "binary" });
  const fd = openSync(join(folder, `bare-${writers}`), "w");
  const at = { end: 0 };
  const total = writers === 1 ? 400 : writers * Math.max(40, Math.floor(20_000 / writers));
  const rounds: Record<"chain" | "chainOfRaw" | "set" | "setOfRaw" | "raw" | "lmdb", number[]> = {
    chain: [],
    chainOfRaw: [],
    set: [],
    setOfRaw: [],
    raw: [],
    lmdb: [],
  };
  let sizes = 0;
  const write = async (number: number) => {
    const key = keyOf(number);
    const version = await own.clock.stamp();
    const entry = { key, state: "value" as const, value, version, expires: null, meta };
    const [result] = await own.write([{ entry, asOf: runtime.now() }], { ack: "journal" });
    if (result?.status !== "stored") throw new Error("not stored");
  };
  for (let round = 0; round < ROUNDS + WARM_UP; round++) {
    groups.length = 0;
    const chainMs = await timed(total, writers, write);
    const chainGroups = groups.splice(0);
    const chainRawMs = await bare(fd, at, chainGroups);
    const setMs = await timed(total, writers, (number) => db.set(keyOf(number), object));
    const setRawMs = await bare(fd, at, groups.splice(0));
    const lmdbMs = await timed(total, writers, (number) => lmdb.put(keyOf(number), value));
    if (round < WARM_UP) continue; // until it is compiled
    const perSecond = (ms: number) => (1000 * total) / ms;
    rounds.chain.push(perSecond(chainMs));
    rounds.chainOfRaw.push(chainRawMs / chainMs);
    rounds.set.push(perSecond(setMs));
    rounds.setOfRaw.push(setRawMs / setMs);
    rounds.raw.push(perSecond(chainRawMs));
    rounds.lmdb.push(perSecond(lmdbMs));
    sizes += total / chainGroups.length / ROUNDS;
  }
  await own.close();
  await db.close();
  await lmdb.close();
  closeSync(fd);
  const { chain: chained, chainOfRaw, set, setOfRaw, raw, lmdb: puts } = rounds;
  return {
    writers,
    chain: spread(chained),
    chainOfRaw: spread(chainOfRaw),
    set: spread(set),
    setOfRaw: spread(setOfRaw),
    raw: spread(raw),
    lmdb: spread(puts),
    writesAGroup: Math.round(sizes),
  };
}

/** Many writes over few keys, into git. */
async function intoGit(total: number) {
  const store = await git("git:./truth.git", { create: true, folder, cacheFolder: join(folder, "cache"), runtime });
  let [calls, entries] = [0, 0];
  const counting: Store = Object.assign(Object.create(store) as Store, {
    write(...args: Parameters<Store["write"]>) {
      calls++;
      entries += args[0].length;
      return store.write(...args);
    },
  });
  const options = { flushIntervalMs: 1000, flushDelayMsMax: 5000 };
  const own = await openChain("into-git", [], counting, options);
  const db = syncOver(own);
  const writeMs = await timed(total, 128, (number) => db.set(keyOf(number), object));
  const began = performance.now();
  await db.flush();
  const flushMs = performance.now() - began;
  await db.close();
  const bare = join(folder, "truth.git");
  const commits = Number(execFileSync("git", ["rev-list", "--count", "--all"], { cwd: bare }).toString());
  const allowed = 2 + Math.ceil(writeMs / options.flushDelayMsMax);
  return { writes: total, writeMs, flushMs, calls, entries, commits, allowed, bytes: bytesIn(bare) };
}

function bytesIn(path: string): number {
  const { size } = statSync(path);
  if (!statSync(path).isDirectory()) return size;
  return readdirSync(path).reduce((sum, name) => sum + bytesIn(join(path, name)), 0);
}

function machine() {
  const manifest = JSON.parse(readFileSync("package.json", "utf8")) as {
    readonly version: string;
    readonly dependencies: Readonly<Record<string, string>>;
  };
  const [cpu] = cpus();
  return {
    microsync: manifest.version,
    node: process.version,
    lmdb: manifest.dependencies["lmdb"],
    system: `${process.platform} ${release()}`,
    cpus: `${cpus().length} x ${cpu?.model ?? "unknown"}`,
    valueBytes: value.length,
    rounds: ROUNDS,
  };
}

const figure = ({ median, least, most }: Spread) => `${Math.round(median)} (${Math.round(least)}-${Math.round(most)})`;
const percent = ({ median, least, most }: Spread) =>
  `${Math.round(100 * median)} % (${Math.round(100 * least)}-${Math.round(100 * most)})`;

try {
  const about = machine();
  if (flags.git !== undefined) {
    const result = await intoGit(Number(flags.git));
    console.log(flags.json ? JSON.stringify({ about, git: result }) : result);
  } else {
    const all: Figures[] = [];
    for (const writers of flags.writers === undefined ? WRITERS : [Number(flags.writers)])
      all.push(await measure(writers));
    if (flags.json) console.log(JSON.stringify({ about, figures: all }));
    else {
      console.log(about);
      console.log("\n| writers | chain.write /s | of raw | db.set /s | of raw | raw /s | lmdb /s | writes a group |");
      console.log("|---:|---:|---:|---:|---:|---:|---:|---:|");
      for (const { writers, chain: chained, chainOfRaw, set, setOfRaw, raw, lmdb, writesAGroup } of all) {
        const cells = [writers, figure(chained), percent(chainOfRaw), figure(set), percent(setOfRaw)];
        console.log(`| ${[...cells, figure(raw), figure(lmdb), writesAGroup].join(" | ")} |`);
      }
    }
  }
} finally {
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
}
