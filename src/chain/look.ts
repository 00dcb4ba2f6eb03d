import type { Slot } from "../slot.ts";
import { routeOf } from "./state.ts";
import type { ChainState } from "./state.ts";
import { jittered } from "./walk.ts";

/** How far the coarse clock may lag behind, in milliseconds, with room to spare. */
const COARSE_MS_MAX = 1_000;

/** The hot path: one map look-up and a few comparisons for a fresh copy in a memory first layer. */
export function looker(state: ChainState): (key: string) => Slot | undefined {
  const [slots] = state.slots;
  const [layer] = state.layers;
  const [calls] = state.calls;
  if (slots === undefined || layer === undefined || calls === undefined) return () => undefined;
  const { counts } = calls;
  const { floors, gaps, runtime } = state;
  const isTruth = state.layers.length === 1;

  /** When the slot stops answering by itself. It may never begin to: a stub, or an asOf in the future. */
  const deadlineOf = ({ entry, asOf }: Slot): number => {
    const now = runtime.now();
    if (entry.state === "stub" || asOf > now) return 0;
    const expires = entry.state === "deleted" ? Number.POSITIVE_INFINITY : (entry.expires ?? Number.POSITIVE_INFINITY);
    return isTruth ? expires : Math.min(expires, asOf + jittered(entry.key, layer));
  };

  return (key) => {
    const slot = slots.look(key);
    if (slot === undefined) return undefined;
    if (slot.deadline === -1) slot.deadline = deadlineOf(slot);
    const now = runtime.coarseNow();
    if (now >= slot.deadline || (slot.asOf <= floors.suspectUntil && !isTruth)) return undefined;
    if (gaps.isAny && !isTruth && slot.asOf <= gaps.suspectUntil(routeOf(state, key), now)) return undefined;
    // The clock stepped back: the copy's age is not known any more.
    if (slot.asOf - now > COARSE_MS_MAX && !isTruth) return undefined;
    counts.hits++;
    return slot;
  };
}
