import { checkKey, isDead } from "../entry.ts";
import type { Entry, Head } from "../entry.ts";
import { SyncError } from "../error.ts";
import type { Listed } from "../store.ts";
import type { Engine } from "./engine.ts";
import { decodeThrough } from "./lens.ts";
import type { Lens } from "./lens.ts";
import { askManyBodies, tooLarge, whole } from "./reading.ts";
import type { ListOptions, ListedEntry, Listing } from "./types.ts";
import { callOptions } from "./wait.ts";

/** How many items are held back so that the stubs among them are looked up in one read. */
const STUB_BATCH = 256;

type Item = Extract<Listed, { kind: "entry" }>;

/** Keys that have values now. */
export function listKeys(engine: Engine, prefix: string, options: ListOptions): Listing<string> {
  return listing(options, (partial) => keys(engine, prefix, options, partial));
}

export function listEntries(
  engine: Engine,
  lens: Lens,
  prefix: string,
  options: ListOptions,
): Listing<ListedEntry<unknown>> {
  return listing(options, (partial) => entries(engine, lens, prefix, options, partial));
}

function listing<T>({ limit }: ListOptions, walk: (partial: string[]) => AsyncIterator<T>): Listing<T> {
  if (limit !== undefined && !(Number.isInteger(limit) && limit >= 0)) {
    throw new SyncError("INVALID", "limit is a whole number of 0 or more", {
      operation: "list",
      cure: "leave it out for all",
    });
  }
  const partial: string[] = [];
  let walked = false;
  return {
    partial,
    [Symbol.asyncIterator]() {
      if (walked) {
        throw new SyncError("INVALID", "a listing can be walked once", { operation: "list", cure: "list again" });
      }
      walked = true;
      return walk(partial);
    },
  };
}

async function* keys(
  engine: Engine,
  prefix: string,
  options: ListOptions,
  partial: string[],
): AsyncGenerator<string, void> {
  for await (const { key } of live(engine, prefix, options, "entries", partial)) yield key.slice(prefix.length);
}

async function* entries(
  engine: Engine,
  lens: Lens,
  prefix: string,
  options: ListOptions,
  partial: string[],
): AsyncGenerator<ListedEntry<unknown>, void> {
  for await (const entry of live(engine, prefix, options, "values", partial)) {
    const { version, expires, meta } = entry;
    if (entry.value === null) throw tooLarge(entry.key, undefined, engine.chain.wholeBytesMax);
    // Decoded for this one reader: a walk over everything must not fill memory.
    const kept = await decodeThrough(lens, { ...entry, value: entry.value });
    yield { key: entry.key.slice(prefix.length), value: kept.give(), version, expires, meta };
  }
}

/** What has a value now, up to the limit. With detail "entries" the value's bytes are null. */
async function* live(
  engine: Engine,
  prefix: string,
  options: ListOptions,
  detail: "entries" | "values",
  partial: string[],
): AsyncGenerator<Entry, void> {
  const { limit = Infinity, after } = options;
  if (limit === 0) return;
  let left = limit;
  for await (const entry of resolved(engine, prefix, options, after, detail, partial)) {
    if (isDead(entry, engine.runtime.now())) continue;
    yield entry;
    if (--left === 0) return;
  }
}

/** Every entry of the range in order, with stubs replaced by what they stand for. */
async function* resolved(
  engine: Engine,
  prefix: string,
  options: ListOptions,
  after: string | undefined,
  detail: "entries" | "values",
  partial: string[],
): AsyncGenerator<Entry, void> {
  const call = callOptions(engine.runtime, options);
  const range = { prefix: prefix + (options.prefix ?? "") };
  if (after !== undefined) checkKey(prefix + after);
  const asked = { ...call, detail, after: after === undefined ? undefined : prefix + after };
  let held: Item[] = [];
  for await (const item of engine.chain.list(range, asked)) {
    if (item.kind === "partial") {
      if (!partial.includes(item.from)) partial.push(item.from);
      continue;
    }
    const stub = item.head?.state === "stub";
    // Nothing waits for a stub, so nothing has to be held back.
    if (held.length === 0 && !stub) {
      yield entryOf(item);
      continue;
    }
    held.push(item);
    if (held.length < STUB_BATCH) continue;
    yield* lookUp(engine, held, detail, options);
    held = [];
  }
  if (held.length > 0) yield* lookUp(engine, held, detail, options);
}

async function* lookUp(
  engine: Engine,
  held: readonly Item[],
  detail: "entries" | "values",
  { signal, timeoutMs }: ListOptions,
): AsyncGenerator<Entry, void> {
  const stubs = held.filter((item) => item.head?.state === "stub").map(({ key }) => key);
  const answers = await askManyBodies(engine, stubs, { signal, timeoutMs });
  const byKey = new Map(stubs.map((key, index) => [key, answers[index]]));
  for (const item of held) {
    if (item.head?.state !== "stub") yield entryOf(item);
    else {
      const live = byKey.get(item.key);
      // Values too large to be read whole are not for whoever wants keys, and told of in their turn to the others.
      const isRead = live?.body !== undefined && detail === "values" && live.body.size <= engine.chain.wholeBytesMax;
      if (live !== undefined) yield isRead ? (await whole(engine, live, { signal, timeoutMs })).entry : live.entry;
    }
  }
}

function entryOf({ key, head, value }: Item): Entry {
  const known: Head | null = head;
  if (known === null) throw new SyncError("INTERNAL", "the chain listed a key without its head", { key });
  return { ...known, value };
}
