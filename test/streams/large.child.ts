/**
 * What the tests of large values run in a process of its own: `node large.child.js WORK FOLDER S3-URL MEGABYTES`. Prints
 * one line of JSON: by how much the process grew at most while it worked, and what it saw.
 */
import { createHash } from "node:crypto";
import { writeSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { chain } from "../../src/chain/chain.ts";
import { layer } from "../../src/chain/layer.ts";
import { journal } from "../../src/config/journal-folder.ts";
import { git } from "../../src/stores/git/open.ts";
import { lmdb } from "../../src/stores/lmdb.ts";
import { memory } from "../../src/stores/memory.ts";
import { s3 } from "../../src/stores/s3.ts";
import { syncOver } from "../../src/sync.ts";
import { systemRuntime as runtime } from "../../src/system.ts";
import { versionClock } from "../../src/version.ts";

const [, , work = "", folder = "", endpoint = "", megabytes = "1", remote = ""] = process.argv;
const MIB = 1024 * 1024;
const bytes = Number(megabytes) * MIB;
const clock = await versionClock({ runtime });
const say = (what: object) => writeSync(1, `${JSON.stringify(what)}\n`);

const stores = {
  memory: () => Promise.resolve(memory({ runtime })),
  lmdb: () => lmdb(`${folder}/lmdb`, { runtime }),
  s3: () =>
    s3({
      runtime,
      endpoint,
      bucket: "large",
      create: true,
      credentials: { accessKeyId: "AKSYNC", secretAccessKey: "SKSYNC" },
    }),
  git: () => git(`git:file://${remote}#main`, { runtime, clock, cacheFolder: `${folder}/cache`, create: true }),
};
const shared = endpoint === "" ? [] : [layer(await stores.s3(), { name: "s3", role: "store" })];
const db = syncOver(
  chain(
    [
      layer(await stores.memory(), { name: "memory" }),
      layer(await stores.lmdb(), { name: "lmdb", deadlineMs: 30_000 }),
      ...shared.map(({ store, options }) => layer(store, { ...options, deadlineMs: 60_000 })),
      layer(await stores.git(), { name: "git", deadlineMs: 60_000 }),
    ],
    { runtime, clock, journal: await journal(`${folder}/journal`, { runtime }), syncIntervalMs: 10, drainMs: 60_000 },
  ),
);

/** Bytes that no compression makes smaller and no two pieces share; the same each time. */
async function* source(size: number): AsyncGenerator<Uint8Array> {
  let state = 0x12345678;
  for (let at = 0; at < size; at += 64 * 1024) {
    await Promise.resolve();
    const words = new Uint32Array((Math.min(64 * 1024, size - at) + 3) >> 2);
    for (let i = 0; i < words.length; i++) {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      words[i] = state >>> 0;
    }
    yield new Uint8Array(words.buffer);
  }
}

const hash = async (pieces: AsyncIterable<Uint8Array>) => {
  const sum = createHash("sha256");
  for await (const piece of pieces) sum.update(piece);
  return sum.digest("hex");
};

/** The most that the kernel has seen this process hold since it was last told to forget it. */
const peak = async () => Number(/^VmHWM:\s+(\d+) kB$/m.exec(await readFile("/proc/self/status", "utf8"))?.[1]) * 1024;
const forgetPeak = async () => {
  const { writeFile } = await import("node:fs/promises");
  await writeFile("/proc/self/clear_refs", "5");
};

async function through(): Promise<void> {
  // Whatever is loaded at the first use is loaded.
  await db.setStream("warm", source(3 * MIB));
  await db.flush();
  for (const range of [undefined, { start: 5, end: MIB }])
    await hash((await db.getStream("warm", { range }))?.stream ?? source(0));
  await forgetPeak();
  const idle = await peak();
  const written = await db.setStream("big", source(bytes), { contentType: "video/mp4", meta: { note: "x" } });
  const acknowledged = (await peak()) - idle;
  await db.flush();
  const flushed = (await peak()) - idle;
  const found = await db.getStream("big");
  const got = await hash(found?.stream ?? source(0));
  const most = (await peak()) - idle;
  const where = (await db.where("big")).map((each) => [
    each.layer,
    each.state === "has" ? each.head.state : each.state,
  ]);
  await db.close();
  say({
    acknowledged,
    flushed,
    most,
    got,
    sent: await hash(source(bytes)),
    size: found?.size,
    where,
    version: written.version,
  });
}

/** Writes a value that never ends, until it is killed; says when much of it is on disk. */
async function never(): Promise<void> {
  let at = 0;
  const endless = async function* () {
    for await (const piece of source(2 ** 40)) {
      at += piece.length;
      if (at === 16 * MIB) say({ underWay: at });
      yield piece;
    }
  };
  await db.setStream("big", endless());
}

const works: Readonly<Record<string, () => Promise<void>>> = { through, never };
await works[work]?.();
