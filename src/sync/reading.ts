import { collected } from "../body.ts";
import { checkKey, isDead } from "../entry.ts";
import type { Entry } from "../entry.ts";
import { SyncError } from "../error.ts";
import type { Answer, ReadOptions } from "../store.ts";
import { readOptions } from "./call.ts";
import type { Engine } from "./engine.ts";
import type { Lens } from "./lens.ts";
import type { Found, GetOptions } from "./types.ts";
import { callOptions } from "./wait.ts";

/** An answer that has a value now. */
export interface Live extends Answer {
  readonly entry: Entry;
}

/** The live answer for one key. @throws SyncError UNAVAILABLE when it is not as fresh as asked for. */
export async function ask(engine: Engine, key: string, options: GetOptions | undefined): Promise<Live | undefined> {
  const live = await askBodies(engine, key, options);
  return live?.body === undefined ? live : whole(engine, live, options);
}

/** The same, where a large value may stay where it is. */
export async function askBodies(
  engine: Engine,
  key: string,
  options: GetOptions | undefined,
  wholeBytesMax?: number,
): Promise<Live | undefined> {
  checkKey(key);
  const asked = readOptions(engine.runtime, options);
  const read = engine.chain.readOne(key, wholeBytesMax === undefined ? asked : { ...asked, wholeBytesMax });
  return judge(engine, await read, asked);
}

/** An answer as a reader of whole values needs it. @throws SyncError TOO_LARGE naming `getStream`. */
export async function whole({ chain, runtime }: Engine, live: Live, options: GetOptions | undefined): Promise<Live> {
  const { body, entry } = live;
  if (body === undefined) return live;
  if (body.size > chain.wholeBytesMax) throw tooLarge(entry.key, body.size, chain.wholeBytesMax);
  const value = await collected(body, callOptions(runtime, options));
  return { ...live, body: undefined, entry: { ...entry, state: "value", value } };
}

export function tooLarge(key: string, bytes: number | undefined, bytesMax: number): SyncError {
  const has = bytes === undefined ? `more than ${bytesMax}` : String(bytes);
  return new SyncError("TOO_LARGE", `the value has ${has} bytes, a value is read whole up to ${bytesMax}`, {
    operation: "read",
    key,
    cure: "read it by getStream, or raise the option wholeBytesMax",
  });
}

/** The live answers for many keys, in their order. A large value stays where it is. */
export async function askManyBodies(
  engine: Engine,
  keys: readonly string[],
  options: GetOptions | undefined,
): Promise<(Live | undefined)[]> {
  for (const key of keys) checkKey(key);
  const asked = readOptions(engine.runtime, options);
  const { batchMax } = engine.chain.supports;
  const live: (Live | undefined)[] = [];
  for (let from = 0; from < keys.length; from += batchMax) {
    const batch = keys.length <= batchMax ? keys : keys.slice(from, from + batchMax);
    const answers = await engine.chain.read(batch, asked);
    for (const answer of answers) live.push(judge(engine, answer, asked));
  }
  return live;
}

/**
 * The answer, if there is a value in it now.
 * @throws SyncError UNAVAILABLE when it is not as fresh as asked for.
 */
export function judge(engine: Engine, answer: Answer, asked: ReadOptions): Live | undefined {
  const { entry, stale } = answer;
  // Most have no end: a thousand who wait for one key need no look at the clock.
  const none = entry === undefined || isDead(entry, entry.expires === null ? 0 : engine.runtime.now());
  // Below a layer that did not answer, "none" is not known, and an old answer is not what was asked for.
  if (stale && (none || asked.authority === true || asked.maxAgeMs !== undefined)) {
    throw new SyncError("UNAVAILABLE", "a layer that might know better did not answer", {
      operation: "read",
      ...(entry === undefined ? {} : { key: entry.key }),
      cure: 'try again, or read with freshness "cached" for the last known value',
    });
  }
  return none ? undefined : (answer as Live);
}

export async function found(engine: Engine, lens: Lens, { entry, asOf, stale, from }: Live): Promise<Found<unknown>> {
  const kept = await engine.hold.ofAnswer(entry, lens);
  const ageMs = engine.runtime.now() - asOf;
  return {
    value: kept.give(),
    version: entry.version,
    expires: entry.expires,
    meta: entry.meta,
    layer: from,
    ageMs: ageMs < 0 ? undefined : ageMs,
    stale,
  };
}
