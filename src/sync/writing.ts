import type { Body } from "../body.ts";
import { NO_META, checkKey } from "../entry.ts";
import type { Entry } from "../entry.ts";
import { SyncError } from "../error.ts";
import type { Write, WriteResult } from "../store.ts";
import type { Version } from "../version.ts";
import { ackOptions, conditionOf, expiryOf, metaOf, outcome, written } from "./call.ts";
import type { Engine } from "./engine.ts";
import { decodeThrough, encodeThrough } from "./lens.ts";
import type { Kept, Lens } from "./lens.ts";
import { BatchError } from "./batch-error.ts";
import type { BatchFailure, DeleteOptions, LifeOptions, SetManyOptions, SetOptions, Written } from "./types.ts";

/** A value on its way into the layers: all but its version is decided, and nothing of the caller's object is left. */
export type Draft = Omit<Entry, "version">;

const NO_OPTIONS = Object.freeze({});
type Call = ReturnType<typeof ackOptions>;

/** How often a conditional write is stamped anew because the layer held a newer tombstone. */
const STAMPS_MAX = 4;

/**
 * Encodes at once, before the caller gets the thread back.
 * @throws SyncError INVALID or TOO_LARGE.
 */
export function draftOf(engine: Engine, lens: Lens, key: string, value: unknown, life: LifeOptions): Draft {
  checkKey(key);
  if (value === undefined) {
    throw new SyncError("INVALID", "undefined cannot be stored: it means that there is no value", {
      operation: "set",
      key,
      cure: "use delete to remove the key, or store null",
    });
  }
  const { bytes, contentType } = encodeThrough(lens, key, value);
  const expires = expiryOf(engine.runtime, life);
  return { key, state: "value", value: bytes, expires, meta: metaOf(life.meta, contentType) };
}

/**
 * What the schema makes of a draft; undefined without one. It judges what was encoded, so nobody can change the value
 * while an asynchronous schema looks at it.
 * @throws SyncError INVALID with the paths inside the value.
 */
export async function checkDraft(lens: Lens, draft: Draft): Promise<Kept | undefined> {
  if (lens.schema === undefined) return undefined;
  return decodeThrough(lens, draft, "set");
}

/**
 * Not `async`, as is nothing on its way: each such function, and each closure, costs a write more than what it does.
 * @throws SyncError as {@link draftOf}; rejects with that of a write that failed.
 */
export function setOne(
  engine: Engine,
  lens: Lens,
  key: string,
  value: unknown,
  options: SetOptions | undefined,
): Promise<Written> {
  const draft = draftOf(engine, lens, key, value, options ?? NO_OPTIONS);
  const condition = options === undefined ? undefined : conditionOf(options, key);
  const call = ackOptions(engine.chain, engine.runtime, options);
  if (lens.schema !== undefined) return setChecked(engine, lens, draft, condition, call);
  return writeDraft(engine, draft, condition, call, "set");
}

async function setChecked(
  engine: Engine,
  lens: Lens,
  draft: Draft,
  condition: "absent" | Version | undefined,
  call: Call,
): Promise<Written> {
  await checkDraft(lens, draft);
  return writeDraft(engine, draft, condition, call, "set");
}

export async function deleteOne(engine: Engine, key: string, options: DeleteOptions = {}): Promise<Written> {
  checkKey(key);
  const call = ackOptions(engine.chain, engine.runtime, options);
  const draft: Draft = { key, state: "deleted", value: null, expires: null, meta: NO_META };
  return writeDraft(engine, draft, options.ifVersion, call, "delete");
}

/** Stamps and writes one draft. @throws SyncError of the clock; rejects with that of a write that failed. */
export function writeDraft(
  engine: Engine,
  draft: Draft,
  condition: "absent" | Version | undefined,
  call: Call,
  operation: string,
  body?: Body,
): Promise<Written> {
  const above = condition === "absent" ? undefined : condition;
  return stampAndWrite(engine, { draft, condition, body, call, operation, stamps: 1 }, above);
}

/** One write from its stamp on. */
interface Order {
  readonly draft: Draft;
  readonly condition: "absent" | Version | undefined;
  readonly body: Body | undefined;
  readonly call: Call;
  readonly operation: string;
  /** How often it has been stamped. */
  readonly stamps: number;
}

function stampAndWrite(engine: Engine, order: Order, above: Version | undefined): Promise<Written> {
  const asOf = engine.runtime.now();
  const version = engine.clock.stamp(above);
  return version instanceof Promise
    ? writeLater(engine, order, version, asOf)
    : writeStamped(engine, order, version, asOf);
}

async function writeLater(engine: Engine, order: Order, version: Promise<Version>, asOf: number): Promise<Written> {
  return writeStamped(engine, order, await version, asOf);
}

function writeStamped(engine: Engine, order: Order, version: Version, asOf: number): Promise<Written> {
  const { draft, condition, body } = order;
  const entry = entryOf(draft, version);
  const write: Write =
    condition === undefined && body === undefined ? { entry, asOf } : { entry, asOf, if: condition, body };
  return engine.chain.write([write], order.call).then((results) => writtenOrAgain(engine, order, entry, results[0]));
}

function writtenOrAgain(
  engine: Engine,
  order: Order,
  entry: Entry,
  result: WriteResult | undefined,
): Written | Promise<Written> {
  const { condition, operation, stamps } = order;
  if (condition === undefined || result?.status !== "superseded" || stamps === STAMPS_MAX) {
    return written(entry, result, operation);
  }
  // The condition held, but what it held of (a tombstone, an expired value) was stamped by a clock ahead of this one.
  return stampAndWrite(engine, { ...order, stamps: stamps + 1 }, result.by);
}

/** In the order in which entries are made elsewhere, so that the engine has one shape of them. */
export function entryOf({ key, state, value, expires, meta }: Draft, version: Version): Entry {
  return { key, state, value, version, expires, meta };
}

export async function setMany(
  engine: Engine,
  lens: Lens,
  prefix: string,
  items: Iterable<readonly [string, unknown, LifeOptions?]>,
  options: SetManyOptions = {},
): Promise<Written[]> {
  const call = ackOptions(engine.chain, engine.runtime, options);
  const refused: BatchFailure[] = [];
  const drafts: Draft[] = [];
  let total = 0;
  for (const [key, value, life] of items) {
    total++;
    try {
      if (typeof key !== "string") checkKey(key);
      drafts.push(draftOf(engine, lens, prefix + key, value, life ?? options));
    } catch (error) {
      refused.push({ key, error: refusalOf(error) });
    }
  }
  if (lens.schema !== undefined) {
    for (const draft of drafts) {
      try {
        await checkDraft(lens, draft);
      } catch (error) {
        refused.push({ key: draft.key.slice(prefix.length), error: refusalOf(error) });
      }
    }
  }
  if (refused.length > 0) throw new BatchError(refused, total, false);
  return writeDrafts(engine, prefix, drafts, call);
}

async function writeDrafts(engine: Engine, prefix: string, drafts: readonly Draft[], call: Call): Promise<Written[]> {
  const { batchMax } = engine.chain.supports;
  const done: Written[] = [];
  const failures: BatchFailure[] = [];
  for (let from = 0; from < drafts.length; from += batchMax) {
    const asOf = engine.runtime.now();
    const entries: Entry[] = [];
    for (const draft of drafts.slice(from, from + batchMax)) {
      entries.push(entryOf(draft, await engine.clock.stamp()));
    }
    let results: WriteResult[];
    try {
      results = await engine.chain.write(
        entries.map((entry) => ({ entry, asOf })),
        call,
      );
    } catch (error) {
      // Batches before this one are written, so the caller has to learn which keys are not.
      const refusal = refusalOf(error);
      for (const { key } of drafts.slice(from)) failures.push({ key: key.slice(prefix.length), error: refusal });
      break;
    }
    for (const [index, entry] of entries.entries()) {
      const what = outcome(entry, results[index], "setMany");
      if (what instanceof SyncError) failures.push({ key: entry.key.slice(prefix.length), error: what });
      else done.push(what);
    }
  }
  if (failures.length > 0) throw new BatchError(failures, drafts.length, true);
  return done;
}

/** What refuses one item of a batch; a defect ends the whole call. */
function refusalOf(error: unknown): SyncError {
  if (error instanceof SyncError) return error;
  throw error;
}
