import { SyncError } from "./error.ts";
import type { Runtime } from "./runtime.ts";

declare const brand: unique symbol;

/**
 * A point in the total order of all writes of all machines: a hybrid logical clock reading plus the id of the process
 * that issued it. Printed as `tttttttttttt-cccc-nnnnnnnnnnnnnnnn`, lower-case hexadecimal: 48 bits of Unix
 * milliseconds, a 16 bit counter, 64 bits of node id. Comparing the strings compares the versions.
 *
 * Source: Kulkarni, Demirbas et al., "Logical Physical Clocks" (2014); the id makes readings unique.
 */
export type Version = string & { readonly [brand]: "Version" };

export const VERSION_LENGTH = 34;
export const VERSION_BYTES = 16;
const COUNTER_MAX = 0xffff;
const MS_MAX = 2 ** 48 - 1;

const HYPHEN = 0x2d;

function isHexDigit(unit: number): boolean {
  return (unit >= 0x30 && unit <= 0x39) || (unit >= 0x61 && unit <= 0x66);
}

/** Below every version: the version of "there was never anything". */
export const VERSION_ZERO = "000000000000-0000-0000000000000000" as Version;
/** None is after it. */
export const VERSION_LAST = "ffffffffffff-ffff-ffffffffffffffff" as Version;

/**
 * Every stamp lies at or above this time (November 2004). What lies below is the low band: versions that were derived
 * from a position in a history, not issued by a clock, so that any write beats them.
 */
export const STAMP_MS_MIN = 2 ** 40;

/** What passed last, or was made here last: each store that a write goes through asks anew. */
let checked: string = VERSION_ZERO;

export function isVersion(text: string): text is Version {
  if (text === checked) return true;
  if (typeof text !== "string" || text.length !== VERSION_LENGTH) return false;
  // A loop, because every write asks this and a regular expression costs five times as much.
  for (let i = 0; i < VERSION_LENGTH; i++) {
    const unit = text.charCodeAt(i);
    const fits = i === 12 || i === 17 ? unit === HYPHEN : isHexDigit(unit);
    if (!fits) return false;
  }
  checked = text;
  return true;
}

/** @throws SyncError INVALID when `text` is not a version. */
export function toVersion(text: string): Version {
  if (!isVersion(text)) throw new SyncError("INVALID", `${JSON.stringify(text.slice(0, 64))} is not a version`);
  return text;
}

/** @param node 16 lower-case hexadecimal digits. */
export function formatVersion(ms: number, counter: number, node: string): Version {
  return `${ms.toString(16).padStart(12, "0")}-${counter.toString(16).padStart(4, "0")}-${node}` as Version;
}

/** The clock reading in a version: Unix milliseconds, or a position if it is in the low band. */
export function versionMs(version: Version): number {
  return digits(version, 0, 6) * 2 ** 24 + digits(version, 6, 12);
}

function versionCounter(version: Version): number {
  return digits(version, 13, 17);
}

function digits(version: Version, from: number, to: number): number {
  let number = 0;
  for (let i = from; i < to; i++) number = (number << 4) | hexDigit(version.charCodeAt(i));
  return number;
}

export function versionToBytes(version: Version, into: Uint8Array = new Uint8Array(VERSION_BYTES), at = 0): Uint8Array {
  let digit = 0;
  for (let i = 0; i < VERSION_BYTES; i++) {
    if (digit === 12 || digit === 17) digit++; // the hyphens
    into[at + i] = (hexDigit(version.charCodeAt(digit)) << 4) | hexDigit(version.charCodeAt(digit + 1));
    digit += 2;
  }
  return into;
}

function hexDigit(unit: number): number {
  return unit < 0x3a ? unit - 0x30 : unit - 0x57;
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

/** The two digits of each byte, as character codes. */
const HIGH = Uint8Array.from(HEX, (digits) => digits.charCodeAt(0));
const LOW = Uint8Array.from(HEX, (digits) => digits.charCodeAt(1));

/** In one call for all 34 characters: built up piece by piece it costs thirty times as much. */
export function versionFromBytes(bytes: Uint8Array, at = 0): Version {
  const version = String.fromCharCode(
    high(bytes, at),
    low(bytes, at),
    high(bytes, at + 1),
    low(bytes, at + 1),
    high(bytes, at + 2),
    low(bytes, at + 2),
    high(bytes, at + 3),
    low(bytes, at + 3),
    high(bytes, at + 4),
    low(bytes, at + 4),
    high(bytes, at + 5),
    low(bytes, at + 5),
    HYPHEN,
    high(bytes, at + 6),
    low(bytes, at + 6),
    high(bytes, at + 7),
    low(bytes, at + 7),
    HYPHEN,
    high(bytes, at + 8),
    low(bytes, at + 8),
    high(bytes, at + 9),
    low(bytes, at + 9),
    high(bytes, at + 10),
    low(bytes, at + 10),
    high(bytes, at + 11),
    low(bytes, at + 11),
    high(bytes, at + 12),
    low(bytes, at + 12),
    high(bytes, at + 13),
    low(bytes, at + 13),
    high(bytes, at + 14),
    low(bytes, at + 14),
    high(bytes, at + 15),
    low(bytes, at + 15),
  ) as Version;
  checked = version;
  return version;
}

function high(bytes: Uint8Array, at: number): number {
  return HIGH[bytes[at] ?? 0] ?? 0;
}

function low(bytes: Uint8Array, at: number): number {
  return LOW[bytes[at] ?? 0] ?? 0;
}

/** The version of a fact that stands at a place in a history instead of a time (see {@link STAMP_MS_MIN}). */
export function lowVersion(position: number, node: string): Version {
  if (!(Number.isSafeInteger(position) && position > 0 && position < STAMP_MS_MIN)) {
    throw new SyncError("INTERNAL", `position ${position} is outside the low band`);
  }
  return formatVersion(position, 0, node);
}

export function isLow(version: Version): boolean {
  return versionMs(version) < STAMP_MS_MIN;
}

/** Issues versions. One per process, shared by everything in it that stamps. */
export interface VersionClock {
  /** This process's id in every version it issues: random, 64 bits, new at each start. */
  readonly node: string;
  /**
   * A version above every one issued or observed before, and above `above` if given. A promise only when the bound
   * that survives a restart has to be moved first.
   * @throws SyncError SKEW when `above` is further in the future than `skewMaxMs`.
   */
  stamp(above?: Version): Version | Promise<Version>;
  /**
   * Takes in a version seen elsewhere. False, and the clock does not move, when it lies more than `skewMaxMs` ahead
   * of this machine's clock.
   */
  observe(version: Version): boolean;
}

/** Where a clock keeps, across restarts, a bound that all versions it issued lie below. */
export interface ClockBound {
  /** The stored bound in Unix milliseconds; 0 when there is none. */
  load(): Promise<number>;
  /** Resolves when `ms` survives a power loss. Never called with a lower value than before. */
  store(ms: number): Promise<void>;
}

export interface VersionClockOptions {
  readonly runtime: Runtime;
  /** Default: nothing is kept; uniqueness then rests on the node id, and order on the wall clock not stepping back. */
  readonly bound?: ClockBound | undefined;
  /** How far ahead of this machine's clock a version may lie, in milliseconds. Default 60,000. */
  readonly skewMaxMs?: number | undefined;
}

export const SKEW_MAX_MS = 60_000;
/** How far ahead of use the bound is moved. After a restart the clock starts at the bound. */
const RESERVE_MS = 10_000;
/**
 * The least step of the bound when the clock already runs ahead of the wall clock, as after a quick restart: shorter
 * than any process takes to start, so that restarts in a loop cannot drive the clock into the future.
 */
const RESERVE_STEP_MS = 16;

export async function versionClock(options: VersionClockOptions): Promise<VersionClock> {
  const { runtime, bound, skewMaxMs = SKEW_MAX_MS } = options;
  const node = Array.from(runtime.random(new Uint8Array(8)), (byte) => HEX[byte]).join("");
  let ms = (await bound?.load()) ?? 0; // of the last version issued or observed
  let counter = ms > 0 ? COUNTER_MAX : -1;
  let reserved = bound === undefined ? MS_MAX : ms; // versions with a time up to and including this may be issued
  let reserving: Promise<void> | undefined;

  /** Of the last version issued, whose node id stays. */
  const bytes = versionToBytes(formatVersion(0, 0, node));

  /** The version after the last one. */
  const issue = (wall: number): Version => {
    if (wall > ms) {
      ms = wall;
      counter = 0;
    } else if (counter < COUNTER_MAX) {
      counter++;
    } else {
      ms++;
      counter = 0;
    }
    for (let i = 5, rest = ms; i >= 0; i--, rest = Math.floor(rest / 256)) bytes[i] = rest % 256;
    bytes[6] = counter >> 8;
    bytes[7] = counter;
    return versionFromBytes(bytes);
  };

  const reserve = async (until: number) => {
    const next = Math.max(until, runtime.now() + RESERVE_MS);
    await bound?.store(next);
    reserved = Math.max(reserved, next);
  };

  const take = (version: Version): void => {
    const seenMs = versionMs(version);
    const seenCounter = versionCounter(version);
    if (seenMs > ms || (seenMs === ms && seenCounter > counter)) {
      ms = seenMs;
      counter = seenCounter;
    }
  };

  const tooFar = (version: Version) => versionMs(version) > runtime.now() + skewMaxMs;

  const stampReserved = async (): Promise<Version> => {
    for (;;) {
      const wall = Math.max(runtime.now(), STAMP_MS_MIN);
      if (Math.max(wall, ms + 1) <= reserved) {
        return issue(wall);
      }
      reserving ??= reserve(Math.max(wall, ms + RESERVE_STEP_MS)).finally(() => {
        reserving = undefined;
      });
      await reserving;
    }
  };

  return {
    node,
    stamp(above) {
      if (above !== undefined) {
        if (tooFar(above)) {
          throw new SyncError("SKEW", `version ${above} lies more than ${skewMaxMs} ms in the future`, {
            cure: "correct the clock of the machine that wrote it",
          });
        }
        take(above);
      }
      const wall = Math.max(runtime.now(), STAMP_MS_MIN);
      if (Math.max(wall, ms + 1) > reserved) return stampReserved();
      return issue(wall);
    },
    observe(version) {
      if (tooFar(version)) return false;
      take(version);
      return true;
    },
  };
}
