import { COARSE_LAG_MS_MAX } from "../runtime.ts";
import type { Slot } from "../slot.ts";
import { routeOf } from "./state.ts";
import type { ChainState } from "./state.ts";
import { jittered } from "./walk.ts";

export interface Looks {
  readonly look: (key: string) => Slot | undefined;
  readonly lookAgain: (slot: Slot) => boolean;
}

/** The hot path: one map look-up and a few comparisons for a fresh copy in a memory first layer. */
export function looks(state: ChainState): Looks {
  const [slots] = state.slots;
  const [layer] = state.layers;
  const [calls] = state.calls;
  if (slots === undefined || layer === undefined || calls === undefined) {
    return { look: () => undefined, lookAgain: () => false };
  }
  const { counts } = calls;
  const { floors, gaps, gate, runtime } = state;
  const { coarse } = runtime;
  /** Deadlines are counted from here. */
  const begun = runtime.now();
  const isTruth = state.layers.length === 1;
  /** The latest asOf of any slot that may answer. Only where that lies ahead can a copy's own: then the clock stepped back. */
  let latestAsOf = 0;

  /** Up to where the time has come. A hit looks at that, at nothing more while the gate is open, and is counted there. */
  const turn = (): void => {
    const now = coarse.lend(gate);
    counts.hits++;
    const isNoneSuspect = floors.suspectUntil === 0 && !gaps.isAny && latestAsOf - now <= COARSE_LAG_MS_MAX;
    // The coarse clock may lie before the beginning, where a deadline that says "never" would be later.
    gate.at = isNoneSuspect ? Math.max(0, now - begun) : Number.POSITIVE_INFINITY;
  };

  /** When the slot stops answering by itself. It may never begin to: a stub, or an asOf in the future. */
  const deadlineOf = (slot: Slot): number => {
    const { asOf } = slot;
    const now = runtime.now();
    if (slot.state === "stub" || asOf > now) return 0;
    const expires = slot.state === "deleted" ? Number.POSITIVE_INFINITY : (slot.expires ?? Number.POSITIVE_INFINITY);
    if (!isTruth && asOf > latestAsOf) latestAsOf = asOf;
    const ends = isTruth ? expires : Math.min(expires, asOf + jittered(slot.key, layer));
    // Rounded down: in its last millisecond the walk decides. 0 says "never", as does what is before the beginning.
    return Math.max(0, Math.floor(ends - begun));
  };

  /** Whether its age is one that counts: nothing was missed since, and the clock has not stepped back behind it. */
  const isKnown = ({ asOf, key }: Slot, now: number) => {
    if (isTruth) return true;
    const { suspectUntil } = floors;
    if ((suspectUntil !== 0 && asOf <= suspectUntil) || asOf - now > COARSE_LAG_MS_MAX) return false;
    return !gaps.isAny || asOf > gaps.suspectUntil(routeOf(state, key), now);
  };

  /** Of a slot that the gate does not let through. */
  const answersAllTheSame = (slot: Slot): boolean => {
    if (slot.deadline === -1) slot.deadline = deadlineOf(slot);
    const now = coarse.now();
    if (slot.deadline > Math.max(0, now - begun) && isKnown(slot, now)) return true;
    counts.hits--; // counted before, as one that the gate lets through
    return false;
  };

  const mayAnswer = (slot: Slot): boolean => {
    if (gate.left > 0) gate.left--;
    else turn();
    return slot.deadline > gate.at || answersAllTheSame(slot);
  };

  return {
    look(key) {
      const slot = slots.look(key);
      return slot !== undefined && mayAnswer(slot) ? slot : undefined;
    },
    lookAgain(slot) {
      if (!mayAnswer(slot)) return false;
      slots.hit(slot);
      return true;
    },
  };
}
