/**
 * What the tests of whole processes run in one of their own: `node process.child.js WORK FOLDER ARGUMENT`. Each line on
 * stdout is written at once.
 */
import { readFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { chain } from "../../src/chain/chain.ts";
import { layer } from "../../src/chain/layer.ts";
import { open } from "../../src/config/open.ts";
import { SyncError } from "../../src/error.ts";
import type { Files, OpenFile } from "../../src/journal/files.ts";
import { openJournal } from "../../src/journal/open.ts";
import { nodeFiles } from "../../src/journal/node-files.ts";
import { sleep } from "../../src/runtime.ts";
import { git } from "../../src/stores/git/index.ts";
import { lmdb } from "../../src/stores/lmdb.ts";
import type { Store } from "../../src/store.ts";
import { syncOver } from "../../src/sync.ts";
import type { Sync } from "../../src/sync.ts";
import { systemRuntime } from "../../src/system.ts";
import { chaos } from "../../src/testing/chaos.ts";
import { versionClock } from "../../src/version.ts";
import { hastened } from "./crash.layers.ts";

const [, , work = "", folder = "", argument = ""] = process.argv;
const say = (line: string): void => {
  writeSync(1, `${line}\n`);
};
/** Says that it is there, and never goes on: the moment of the kill is certain. */
const hold = (): Promise<never> => {
  say("held");
  setInterval(() => undefined, 1000);
  return new Promise(() => undefined);
};

process.on("unhandledRejection", (error) => {
  say(`unhandled ${String(error)}`);
  process.exit(9);
});

/** Stops before or after the n-th operation of that name. */
interface Moment {
  readonly what: string;
  readonly n: number;
  readonly when: string;
}

function stops({ what, n, when }: Moment) {
  let count = 0;
  return async <T>(operation: string, run: () => Promise<T>): Promise<T> => {
    const isIt = operation.replace(/\d{10}/, "N") === what && ++count === n;
    if (isIt && when === "before") await hold();
    const result = await run();
    if (isIt) await hold();
    return result;
  };
}

/** The files, which stop at a moment. */
function holding(inner: Files, moment: Moment): Files {
  const step = stops(moment);
  const file = (name: string, opened: OpenFile): OpenFile => ({
    async appendSynced(bytes) {
      await this.append(bytes);
      await this.sync();
    },
    append: (bytes) => step(`append ${name}`, () => opened.append(bytes)),
    sync: () => step(`sync ${name}`, () => opened.sync()),
    truncate: (length) => step(`truncate ${name}`, () => opened.truncate(length)),
    close: () => opened.close(),
  });
  return {
    ...inner,
    create: (name) => step(`create ${name}`, async () => file(name, await inner.create(name))),
    open: (name) => step(`open ${name}`, async () => file(name, await inner.open(name))),
    rename: (from, to) => step(`rename ${from}`, () => inner.rename(from, to)),
    remove: (name) => step(`remove ${name}`, () => inner.remove(name)),
    syncFolder: () => step("sync the folder", () => inner.syncFolder()),
    claim: () => step("claim", () => inner.claim()),
  };
}

/** A store which stops at a moment. */
function holdingStore(inner: Store, moment: Moment): Store {
  const step = stops(moment);
  return Object.assign(Object.create(inner) as Store, {
    write: (...args: Parameters<Store["write"]>) => step("write", () => inner.write(...args)),
  });
}

async function openOver(store: Store, files: Files): Promise<Sync> {
  const journal = await openJournal({ files, runtime: hastened, segmentBytes: 700, keptBytesMax: 1000 });
  const clock = await versionClock({ runtime: hastened });
  return syncOver(chain([layer(store)], { runtime: hastened, clock, journal, syncIntervalMs: 5 }));
}

/** Says what it finds, writes so much that segments come and go, flushes, closes; stops where it is told to. */
async function held(): Promise<void> {
  const [what = "", n = "0", when = "", part = ""] = argument.split(",");
  const moment = { what, n: Number(n), when };
  const runtime = systemRuntime;
  const files = nodeFiles(join(folder, "journal"), { runtime });
  const cacheFolder = join(folder, "cache");
  const db =
    part === "git"
      ? await openOver(
          holdingStore(await git("git:./truth.git", { runtime, folder, cacheFolder, create: true }), moment),
          files,
        )
      : await openOver(await lmdb(join(folder, "disk"), { runtime }), holding(files, moment));
  const keys = JSON.parse(readFileSync(join(folder, "keys.json"), "utf8")) as string[];
  const seen = await db.getMany<{ n: number }>(keys);
  for (const key of keys) say(`saw ${key} ${seen.get(key)?.n ?? "none"}`);
  const set = async (key: string, n: number) => {
    say(`try ${key} ${n} set`);
    await db.set(key, { n, pad: "x".repeat(150) });
    say(`ack ${key} ${n}`);
  };
  const base = Date.now() * 100;
  for (let i = 0; i < 3; i++) await Promise.all(["a", "b"].map((name, j) => set(`${name}/${i % 3}`, base + 2 * i + j)));
  await db.flush();
  say("flushed");
  for (let i = 0; i < 50 && (db.status().journal?.diskBytes ?? 0) > 1700; i++) await sleep(systemRuntime, 10);
  await set("c", base + 50);
  await db.close();
}

/** Ends by `close` on SIGTERM: says what is left and how long it took. */
async function drain(): Promise<void> {
  const [kind = "", count = "0", drainMs = "0"] = argument.split(",");
  const disk = chaos(await lmdb(join(folder, "disk"), { runtime: systemRuntime }), { runtime: systemRuntime, seed: 1 });
  if (kind === "down") disk.down(["write"]);
  if (kind === "slow") disk.storm({ delay: 1 });
  const db = await open([layer(disk, { name: "disk", flushEntriesMax: 1, flushIntervalMs: 60_000 })], {
    base: folder,
    journal: "journal",
    drainMs: Number(drainMs),
    onReport: ({ kind: what, message }) => say(`report ${what} ${message}`),
  });
  process.once("SIGTERM", () => {
    const began = performance.now();
    void db.close().then(() => {
      say(`closed ${Math.round(performance.now() - began)}`);
      process.exit(0);
    });
  });
  for (let i = 0; i < Number(count); i++) await db.set(`k/${i}`, i);
  if (kind === "exit") {
    say("ready");
    process.exit(0);
  }
  setInterval(() => undefined, 1000);
  say("ready");
}

/** Has the folder and waits. */
async function own(): Promise<void> {
  await open(["memory:", "lmdb:./disk"], { base: folder, journal: "journal" });
  setInterval(() => undefined, 1000);
  say("ready");
}

/** Writes until the disk is full; goes on when a line comes on stdin, which says that there is room. */
async function fill(): Promise<void> {
  const disk = chaos(await lmdb(argument, { runtime: systemRuntime }), { runtime: systemRuntime, seed: 1 });
  disk.down(["write"]);
  // However slow the machine is, the flush at the end is to ask it.
  const db = await open([layer(disk, { breakerFailures: Number.MAX_SAFE_INTEGER })], {
    base: folder,
    clock: join(argument, "clock"),
    journal: { folder: join(folder, "journal"), segmentBytes: 100_000 },
    drainMs: 0,
  });
  let written = 0;
  const writeAll = async (upTo: number): Promise<void> => {
    try {
      for (; written < upTo; written++) {
        await db.set(`k/${written}`, "x".repeat(5000));
        say(`ack ${written}`);
      }
    } catch (error) {
      if (!(error instanceof SyncError)) throw error;
      say(`refused ${error.code} ${error.retryable} ${error.message}`);
    }
  };
  await writeAll(Infinity);
  let intact = 0;
  for (let i = 0; i < written; i++) if ((await db.get<string>(`k/${i}`))?.length === 5000) intact++;
  say(`intact ${intact}`);
  await new Promise((resolve) => process.stdin.once("data", resolve));
  await writeAll(written + 20);
  disk.up();
  await db.flush();
  say(`flushed ${db.status().journal?.entries}`);
  await db.close();
  process.stdin.destroy();
}

const works: Readonly<Record<string, () => Promise<void>>> = { held, drain, own, fill };
await works[work]?.();
if (work === "held" || work === "fill") say("end");
