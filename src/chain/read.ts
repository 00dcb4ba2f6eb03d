import { SyncError, asSyncError } from "../error.ts";
import { PartialRead } from "../store.ts";
import type { Answer, ReadOptions } from "../store.ts";
import { VERSION_ZERO } from "../version.ts";
import type { Version } from "../version.ts";
import { forCaller } from "../caller.ts";
import type { ChainReadOptions } from "./chain.ts";
import { Flight } from "./flight.ts";
import { Party } from "./party.ts";
import type { ChainState } from "./state.ts";
import { routeOf } from "./state.ts";
import type { Freshness } from "./walk.ts";

/** Reads keys through the chain; see walk.ts for the rules. One answer per key. */
export function readKeys(
  state: ChainState,
  keys: readonly string[],
  options: ChainReadOptions | undefined,
): Promise<Answer[]> {
  const [only] = keys;
  if (keys.length === 1 && only !== undefined) return readKey(state, only, options).then((answer) => [answer]);
  return forCaller(readTogether(state, keys, options), options, state.runtime, state.name, "read");
}

/** Reads one key. Readers who share a walk get one promise, as long as none of them has a signal or deadline. */
export function readKey(state: ChainState, key: string, options: ChainReadOptions | undefined): Promise<Answer> {
  const begun: Flight[] = [];
  const freshness = freshnessOf(options);
  const found = join(state, key, freshness, options, begun);
  if (begun.length > 0) new Party(state, begun, freshness, options).setOut();
  const answer = found instanceof Flight ? found.answer : Promise.resolve(found);
  return forCaller(answer, options, state.runtime, state.name, "read");
}

async function readTogether(
  state: ChainState,
  keys: readonly string[],
  options: ChainReadOptions | undefined,
): Promise<Answer[]> {
  const begun: Flight[] = [];
  const freshness = freshnessOf(options);
  const asked = new Map<string, Answer | Flight>();
  for (const key of keys) {
    if (!asked.has(key)) asked.set(key, join(state, key, freshness, options, begun));
  }
  // Those who go in step end with the last of them; no key of theirs needs a promise of its own.
  if (begun.length > 0) await new Promise<void>((over) => new Party(state, begun, freshness, options, over).setOut());
  const answers: (Answer | SyncError)[] = [];
  for (const key of keys) {
    const found = asked.get(key) as Answer | Flight;
    answers.push(found instanceof Flight ? (found.outcome ?? (await outcomeOf(found))) : found);
  }
  if (answers.some((answer) => answer instanceof SyncError)) throw new PartialRead(answers, { store: state.name });
  return answers as Answer[];
}

/** What became of another reader's walk. */
async function outcomeOf({ answer }: Flight): Promise<Answer | SyncError> {
  try {
    return await answer;
  } catch (error) {
    return asSyncError(error);
  }
}

/** What answers a read of the key: what is known of it, a walk that it shares, or one that begins now. */
function join(
  state: ChainState,
  key: string,
  freshness: Freshness,
  options: ChainReadOptions | undefined,
  begun: Flight[],
): Answer | Flight {
  const isNear = options?.near === true;
  const isPlain = options?.wholeBytesMax === undefined && isBelowFloor(state, key, options?.atLeast?.get(key));
  const canShare = freshness.kind === "cached" && isPlain && !isNear;
  const isKnown = canShare || (isNear && freshness.kind === "cached" && isPlain);
  const known =
    (isKnown ? knownAbsence(state, key) : undefined) ?? (canShare ? state.flights.joinable(key) : undefined);
  if (known !== undefined) return known;
  const flight = state.flights.begin(key, canShare);
  begun.push(flight);
  return flight;
}

/** Whether no walk here answers with less than the caller has seen, so that there is no need of one of his own. */
function isBelowFloor(state: ChainState, key: string, seen: Version | undefined): boolean {
  return seen === undefined || (state.floors.version(key, state.runtime.now()) ?? VERSION_ZERO) >= seen;
}

const CACHED: Freshness = { kind: "cached" };

function freshnessOf(options: ReadOptions | undefined): Freshness {
  if (options?.authority === true) return { kind: "authority" };
  if (options?.maxAgeMs !== undefined) return { kind: "maxAge", ms: options.maxAgeMs };
  return CACHED;
}

/** That a complete walk found the key nowhere a short time ago. */
function knownAbsence(state: ChainState, key: string): Answer | undefined {
  if (state.negatives.size === 0) return undefined;
  const now = state.runtime.now();
  const asOf = state.negatives.get(key, now);
  if (asOf === undefined || state.floors.get(key, now)?.dead === false) return undefined;
  if (asOf <= state.gaps.suspectUntil(routeOf(state, key), now)) return undefined;
  return { entry: undefined, asOf, complete: true, stale: false, from: state.name };
}

export function fits(value: Uint8Array | null, valueBytesMax: number): boolean {
  return value === null || value.length <= valueBytesMax;
}
