import type { Body } from "../body.ts";
import type { Entry, Head } from "../entry.ts";
import type { Runtime } from "../runtime.ts";
import type { Files } from "./files.ts";
import type { Item } from "./queues.ts";

export interface JournalOptions {
  readonly files: Files;
  readonly runtime: Runtime;
  /** A segment that is larger is closed and a new one begun. Default 16 MiB. */
  readonly segmentBytes?: number | undefined;
  /** How many entries may wait for layers; more wait, then end with OVERLOADED. Default 250,000. */
  readonly entriesMax?: number | undefined;
  /** How many bytes may wait for layers, on disk, large values in files of their own included. Default 1 GiB. */
  readonly bytesMax?: number | undefined;
  /** How long the oldest entry may wait before new ones are refused, in milliseconds. Default 7 days. */
  readonly ageMsMax?: number | undefined;
  /** How long a writer waits for room before it is refused, in milliseconds. Default 10,000. */
  readonly waitMs?: number | undefined;
  /** How many bytes of bodies that wait are kept in memory; the others are read from disk again. Default 64 MiB. */
  readonly memoryBytesMax?: number | undefined;
  /** How many records of an earlier process are taken up at once, between the turns of others. Default 500. */
  readonly replayRecords?: number | undefined;
  /** How many bytes of segments that every layer has passed are kept for their versions. Default 64 MiB. */
  readonly keptBytesMax?: number | undefined;
}

/** Where the entries of a key go: the layers as bits, and the one that takes them first. */
export interface Route {
  readonly mask: number;
  readonly first: number;
}

/** What the chain does for its journal. */
export interface JournalHooks {
  readonly route: (key: string) => Route;
  /** Records are on disk, in order: the layers may have them. Must not throw. */
  readonly landed: (items: readonly Item[]) => void;
  /** This node wrote, or knows that every layer has, this version: it must not go back behind it. */
  readonly floor: (head: Head, since: number) => void;
  /** This version is nobody's value after all. */
  readonly unfloor: (head: Head) => void;
  readonly suspect: (until: number) => void;
  /** The queues have all that some layer lacks, from here on. */
  readonly replayed: () => void;
  /** For how long after every layer has a record its version is kept, in milliseconds. */
  readonly floorMs: number;
  readonly report: (message: string, key?: string) => void;
}

/** An entry that some layer lacks, as a reader of this node sees it. */
export interface Pending {
  readonly head: Head;
  /** Unix ms: when it was written, or last found to be the newest by a complete walk. */
  knownAt: number;
  readonly entry: Entry | undefined;
  /** The value that the entry, a stub, stands for. */
  readonly body?: Body | undefined;
}

/** What was appended. */
export interface Appended {
  readonly items: readonly Item[];
  /** @throws SyncError UNAVAILABLE when the disk did not take them: they are not written. */
  readonly durable: Promise<void>;
}

export interface JournalStatus {
  /** What some layer lacks. */
  readonly entries: number;
  readonly bytes: number;
  readonly diskBytes: number;
  /** How long the oldest of them has waited, in milliseconds; 0 when none waits. */
  readonly oldestMs: number;
  readonly deadLetters: number;
  readonly conflicts: number;
  /** Conditional writes that are not decided. */
  readonly undecided: number;
}
