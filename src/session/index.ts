/** Copying, mirroring and comparing between any two stores. docs/session.md is the guide. */
import type { Store } from "../store.ts";
import { systemRuntime } from "../system.ts";
import { versionClock } from "../version.ts";
import { copyWith } from "./copy.ts";
import { diffWith } from "./diff.ts";
import { mirrorWith } from "./mirror.ts";
import type { CopyOptions, Difference, MirrorOptions, SessionOptions, SessionResult } from "./types.ts";

export { SessionError } from "./types.ts";
export type {
  Action,
  CopyOptions,
  DiffSymbol,
  Difference,
  Filter,
  MirrorOptions,
  Phase,
  PositionKeeper,
  SessionEvent,
  SessionFailure,
  SessionOptions,
  SessionResult,
  SessionStats,
} from "./types.ts";

/**
 * Gives the target every value of the source that it lacks or has in an older version. A newer one in the target stays, and
 * nothing is deleted. Copying again does no harm, and does nothing where nothing changed.
 *
 * @throws SessionError when not everything could be done: a list failed, a key failed (the others are done nevertheless), or
 * the signal came. SyncError INVALID for an option out of range.
 */
export async function copy(from: Store, to: Store, options: CopyOptions = {}): Promise<SessionResult> {
  return copyWith(from, to, { ...options, runtime: options.runtime ?? systemRuntime });
}

/**
 * Makes the target's values those of the source: newer ones there are replaced, and what the source has not is deleted, last
 * of all and only if nothing failed. CONFLICT, and nothing is written, when the source has no values or more would be
 * deleted than `maxDelete`.
 *
 * @throws SessionError as `copy`.
 */
export async function mirror(from: Store, to: Store, options: MirrorOptions = {}): Promise<SessionResult> {
  const { runtime = systemRuntime } = options;
  const clock = options.clock ?? (await versionClock({ runtime }));
  return mirrorWith(from, to, { ...options, runtime, clock });
}

/**
 * How the values of the two sides stand to each other, for each key that one of them has a value of, in the order of the keys.
 * Nothing is written.
 *
 * @throws SyncError when a list fails: what was told before is right, and what comes after it is not known.
 */
export function diff(from: Store, to: Store, options: SessionOptions = {}): AsyncIterable<Difference> {
  return diffWith(from, to, { ...options, runtime: options.runtime ?? systemRuntime });
}
