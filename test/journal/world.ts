import { NO_META } from "../../src/entry.ts";
import type { Entry } from "../../src/entry.ts";
import { SyncError } from "../../src/error.ts";
import type { Files } from "../../src/journal/files.ts";
import { openLog } from "../../src/journal/log.ts";
import type { Draft, Indexed, Log, RecordKind } from "../../src/journal/log.ts";
import type { Runtime } from "../../src/runtime.ts";
import type { Random } from "../../src/testing/random.ts";
import { formatVersion } from "../../src/version.ts";

export const NODE = "00000000000000aa";

export function entryOf(key: string, number: number, value: Uint8Array | null): Entry {
  const version = formatVersion(1.7e12 + number, 0, NODE);
  return { key, state: value === null ? "deleted" : "value", value, version, expires: null, meta: NO_META };
}

/** A draft that differs from every other one by `number`. */
export function draftOf(chance: Random, number: number, valueBytesMax = 900): Draft {
  const kind: RecordKind = chance.pick(["write", "write", "write", "intent", "decision"]);
  const key = chance.pick(["a", "users/1", "größe/😀", `k${number}`]);
  const note = chance.chance(0.3) ? chance.bytes(chance.below(40)) : undefined;
  const value = chance.chance(0.2) ? null : chance.bytes(chance.below(valueBytesMax));
  const entry = kind === "decision" ? null : entryOf(key, number, value);
  return { kind, key, asOf: 1.7e12 + number, entry, ...(note === undefined ? {} : { note }) };
}

/** What a test found that must never be. */
export class Violation extends Error {}

interface Written {
  readonly draft: Draft;
  /** The drafts of one append are there together or not at all. */
  readonly append: number;
}

/**
 * What must be true of a log, whatever happened to its disk: everything acknowledged is there, exactly and in order;
 * nothing is there that was not written, nor what failed before something that was acknowledged, nor half an append.
 */
export class Model {
  /** Acknowledged, or told by an opened log. */
  private readonly sure = new Map<number, Written>();
  /** Sent, and neither acknowledged nor, for certain, gone. */
  private unsure = new Map<number, Written>();
  /** Numbers in segments whose removal was asked for, or acknowledged. */
  private readonly leaving = new Set<number>();
  private readonly left = new Set<number>();
  private appends = 0;

  get size(): number {
    return this.sure.size;
  }

  /** Appends, and notes what became of it. Rejects only when the machine is gone. */
  async append(log: Log, drafts: readonly Draft[]): Promise<void> {
    const append = ++this.appends;
    const { first, placeOf, durable } = log.append(drafts);
    drafts.forEach((draft, i) => this.unsure.set(first + i, { draft, append }));
    try {
      await durable;
    } catch (error) {
      if (!(error instanceof SyncError)) throw error;
      if (error.code !== "UNAVAILABLE" || !error.retryable) throw new Violation(`append failed as ${error.code}`);
      if (isGone(error)) throw error.cause;
      return;
    }
    drafts.forEach((draft, i) => {
      this.sure.set(first + i, { draft, append });
      this.unsure.delete(first + i);
    });
    // What failed before can come back no more.
    for (const seq of this.unsure.keys()) {
      if (seq < first && this.failedBefore(seq, log)) this.unsure.delete(seq);
    }
    for (let i = 1; i < drafts.length; i++) {
      const [one, next] = [placeOf(first + i - 1), placeOf(first + i)];
      if (one.at + one.length !== next.at) throw new Violation("records do not lie one after the other");
    }
    if (log.durable < first + drafts.length - 1) throw new Violation("acknowledged before it is durable");
  }

  private failedBefore(seq: number, log: Log): boolean {
    return seq <= log.durable; // groups reach the disk in order, so whatever is below and unsure has failed
  }

  async removeSome(log: Log, chance: Random): Promise<void> {
    const closed = log.segments().slice(0, -1);
    if (closed.length < 2) return;
    const going = chance.shuffle(closed).slice(0, 1 + chance.below(closed.length - 1));
    const seqs = [...this.sure.keys()].filter((seq) => going.some(({ first, last }) => seq >= first && seq <= last));
    for (const seq of seqs) this.leaving.add(seq);
    await log.removeSegments(going.map(({ number }) => number));
    for (const seq of seqs) this.left.add(seq);
  }

  /** Compares the log just opened with what must and may be there; from now on what it told is sure. */
  async verify(log: Log): Promise<void> {
    const told = new Set<number>();
    let before = 0;
    for (const record of log.recovered) {
      if (record.seq <= before) throw new Violation(`${record.seq} comes after ${before}`);
      before = record.seq;
      told.add(record.seq);
      const written = this.sure.get(record.seq) ?? this.unsure.get(record.seq);
      if (written === undefined) throw new Violation(`${record.seq} came out of nowhere`);
      if (this.left.has(record.seq)) throw new Violation(`${record.seq} was removed and is back`);
      await compare(log, record, written.draft);
      this.sure.set(record.seq, written);
    }
    for (const seq of this.sure.keys()) {
      if (!told.has(seq) && !this.leaving.has(seq)) throw new Violation(`${seq} was acknowledged and is lost`);
    }
    const whole = new Map<number, boolean>();
    for (const [seq, { append }] of [...this.sure, ...this.unsure]) {
      const there = told.has(seq);
      if ((whole.get(append) ?? there) !== there) throw new Violation(`half of append ${append} is there`);
      whole.set(append, there);
    }
    for (const seq of this.sure.keys()) if (!told.has(seq)) this.sure.delete(seq);
    this.unsure = new Map();
    if (log.last < before || log.durable !== log.last) throw new Violation("the numbers go back");
  }
}

async function compare(log: Log, record: Indexed, draft: Draft): Promise<void> {
  const { kind, key, asOf, note, head, valueBytes, place, seq } = record;
  const same =
    kind === draft.kind &&
    key === draft.key &&
    asOf === draft.asOf &&
    sameBytes(note, draft.note ?? new Uint8Array(0)) &&
    head?.version === draft.entry?.version &&
    head?.state === draft.entry?.state &&
    valueBytes === (draft.entry?.value?.length ?? 0);
  if (!same) throw new Violation(`${seq} is not what was written`);
  if (head === null || draft.entry === null) return;
  const entry = await again(() => log.read(place, key));
  const { value } = draft.entry;
  const sameValue = value === null || entry.value === null ? entry.value === value : sameBytes(entry.value, value);
  if (!sameValue || entry.version !== draft.entry.version) throw new Violation(`${seq} reads as something else`);
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

/** The machine that was asking lost its power. */
export function isGone(error: unknown): boolean {
  const cause = error instanceof SyncError ? error.cause : error;
  return cause instanceof Error && cause.message === "the machine that asked is gone";
}

export const SEGMENT_BYTES = 2500;

export function openAgain(files: Files, runtime: Runtime): Promise<Log> {
  return again(() => openLog({ files, runtime, segmentBytes: SEGMENT_BYTES }));
}

/** Tries again as long as single failures of the disk are in the way. */
async function again<T>(work: () => Promise<T>): Promise<T> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      if (isGone(error) || attempt === 3 || !(error instanceof SyncError && error.retryable)) throw error;
    }
  }
}
