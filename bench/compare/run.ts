/** The hot paths of one compiled package, in a process of its own: `node run.js DIST`, and nanoseconds as JSON. */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import type * as envelopes from "../../src/envelope.ts";
import type { Entry, Sync } from "../../src/index.ts";
import { quantile } from "../peers/quantile.ts";
import { Second } from "../peers/second.ts";
import { openSync, syncModule } from "../peers/sync.ts";
import type { SyncModule } from "../peers/sync.ts";

const KEYS = Array.from({ length: 1_000 }, (_, i) => `${10_000 + i}/profile/main`);
const READ_KEYS = KEYS.map((key) => JSON.parse(JSON.stringify(key)) as string);
const VALUE = { name: "Ada Lovelace", age: 36, tags: ["en", "fr"], active: true };
const WARM_UP = 3;
const SLICES = 9;
/** Passes over all keys in one slice of what takes well under a microsecond. */
const FAST_PASSES = 30;
/** Keys that each batch finds in memory, and as many that it does not. */
const HALF = 50;
/** How many keys are asked for by so many readers at once. */
const CROWDS = 8;
const READERS = 1_000;

const [dist] = process.argv.slice(2);
if (dist === undefined) throw new Error("usage: run.js DIST");

/** Processor time of one operation, in nanoseconds: the median of the slices. All that is waited for is in this process. */
async function timed(count: number, work: () => unknown, before?: () => Promise<void>): Promise<number> {
  const slices: number[] = [];
  for (let i = -WARM_UP; i < SLICES; i++) {
    await before?.();
    const started = process.cpuUsage();
    await work();
    const { user, system } = process.cpuUsage(started);
    if (i >= 0) slices.push(((user + system) * 1_000) / count);
  }
  return quantile(slices, 0.5);
}

// A function for each loop, so that what the engine learns of one says nothing to another.

async function hits(db: Sync): Promise<void> {
  for (let i = 0; i < FAST_PASSES; i++) for (const key of READ_KEYS) await db.get(key);
}

async function namespaceHits(db: Sync): Promise<void> {
  for (let i = 0; i < FAST_PASSES; i++) for (const key of READ_KEYS) await db.get(key);
}

function peeks(db: Sync): void {
  for (let i = 0; i < FAST_PASSES; i++) for (const key of READ_KEYS) db.peek(key);
}

async function sets(db: Sync): Promise<void> {
  for (const key of KEYS) await db.set(key, VALUE);
}

async function misses(db: Sync): Promise<void> {
  for (const key of READ_KEYS) await db.get(key);
}

async function batches(db: Sync): Promise<void> {
  const known = READ_KEYS.slice(0, HALF);
  for (let at = HALF; at < KEYS.length; at += HALF) await db.getMany([...known, ...READ_KEYS.slice(at, at + HALF)]);
}

async function crowds(db: Sync): Promise<void> {
  for (const key of READ_KEYS.slice(0, CROWDS)) await Promise.all(Array.from({ length: READERS }, () => db.get(key)));
}

async function ofNamespace(module: SyncModule): Promise<number> {
  const db = await openSync(new Second(), true, { module });
  const users = db.namespace("tenants/acme/users/");
  for (const key of KEYS) await users.set(key, VALUE);
  const ns = await timed(FAST_PASSES * KEYS.length, () => namespaceHits(users));
  await db.close();
  return ns;
}

async function ofEnvelope(folder: string): Promise<Record<string, number>> {
  const path = resolve(folder, "envelope.js");
  if (!existsSync(path)) return {};
  const { encodeEnvelope, decodeEnvelope } = (await import(pathToFileURL(path).href)) as typeof envelopes;
  const version = "018f00000000-0000-0123456789abcdef" as Entry["version"];
  const value = new TextEncoder().encode(JSON.stringify(VALUE));
  const entry: Entry = { key: "users/1", state: "value", value, version, expires: null, meta: {} };
  const bytes = encodeEnvelope(entry);
  const each = (work: () => unknown) => () => {
    for (let i = 0; i < KEYS.length * FAST_PASSES; i++) work();
  };
  return {
    encode: await timed(
      KEYS.length * FAST_PASSES,
      each(() => encodeEnvelope(entry)),
    ),
    decode: await timed(
      KEYS.length * FAST_PASSES,
      each(() => decodeEnvelope(bytes, { key: entry.key })),
    ),
  };
}

const module = await syncModule(dist);
const second = new Second();
let db = await openSync(second, true, { module });
await sets(db);
const fast = FAST_PASSES * KEYS.length;
const hit = await timed(fast, () => hits(db));
const peek = await timed(fast, () => peeks(db));
const set = await timed(KEYS.length, () => sets(db));
const reopened = async () => {
  await db.close();
  db = await openSync(second, true, { module });
};
const miss = await timed(KEYS.length, () => misses(db), reopened);
const batch = await timed(
  KEYS.length / HALF - 1,
  () => batches(db),
  async () => {
    await reopened();
    await db.getMany(READ_KEYS.slice(0, HALF));
  },
);
const crowd = await timed(CROWDS, () => crowds(db), reopened);
await db.close();
const far = { set, miss, "batch of 100, half missing": batch, "1,000 readers": crowd };
const figures = { hit, namespace: await ofNamespace(module), peek, ...far, ...(await ofEnvelope(dist)) };
process.stdout.write(`${JSON.stringify(figures)}\n`);
