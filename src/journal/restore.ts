import { SyncError } from "../error.ts";
import type { Head } from "../entry.ts";
import type { Version } from "../version.ts";
import { readBodyNote } from "./bodies.ts";
import type { Bodies } from "./bodies.ts";
import type { Cursors } from "./cursors.ts";
import type { Route } from "./contract.ts";
import type { Indexed } from "./log.ts";
import { readCondition, readDecision } from "./notes.ts";
import type { Item, Queues } from "./queues.ts";

export interface RestoreOptions {
  readonly recovered: readonly Indexed[];
  readonly cursors: Cursors;
  readonly queues: Queues;
  readonly route: (key: string) => Route;
  /** Monotonic ms. */
  readonly now: number;
  /** Records that are on the conflict list: nobody's value until somebody decides. */
  readonly forgone: ReadonlySet<number>;
  /** Records that are dead letters, and the layers that refused them. */
  readonly refused: ReadonlyMap<number, readonly string[]>;
  /** This node knows of the version since that Unix ms. */
  readonly floor: (head: Head, since: number) => void;
  /** A conditional write that nobody knows the outcome of. */
  readonly undecided: (item: Item) => void;
  readonly bodies: Bodies;
}

/** Puts into the queues what the layers had not got when the journal was closed, or its process died. */
export function restore(options: RestoreOptions): void {
  const { recovered, cursors, queues, route, now, refused, forgone, floor, undecided, bodies } = options;
  const decisions = decisionsOf(recovered);
  const seqs = queues.lanes.map(({ name }) => cursors.lanes[name]?.seq ?? 0);
  const passed = Math.min(...seqs);
  for (const record of recovered) {
    const { kind, seq } = record;
    // What did not happen, was given up, or waits for somebody's decision.
    if (kind === "decision" || decisions.get(seq) === false || forgone.has(seq)) continue;
    const head = headOfRecord(record);
    const { mask, first } = route(head.key);
    let waits = 0;
    // Authority first: what the first layer has refused, no other shared layer gets.
    const isRefused = queues.lanes.some(({ bit, name }) => bit === first && refused.get(seq)?.includes(name) === true);
    if (seq > passed) for (let i = 0; i < seqs.length; i++) if (seq > (seqs[i] ?? 0)) waits |= mask & (1 << i);
    if (kind === "intent") {
      const happened = decisions.get(seq);
      // Without a decision on disk, that the cursor of the deciding layer has passed it says that it happened.
      if (happened === undefined && (waits & first) !== 0) {
        const item = itemOf(record, head, { waits, first, queuedAt: now }, bodies);
        undecided(item);
        queues.hold(item);
        continue;
      }
      waits &= ~first;
    }
    if (isRefused && (waits & first) === 0) for (const { bit, shared } of queues.lanes) if (shared) waits &= ~bit;
    if (waits === 0) {
      floor(head, Math.max(record.asOf, cursors.savedAt));
      continue;
    }
    // What is in the queues is its own floor, and gets one when it leaves them: there is no room for floors of them all.
    queues.add(itemOf(record, head, { waits, first, queuedAt: now }, bodies));
  }
}

/** A head is decoded anew each time that it is asked for. */
export function headOfRecord({ head, key }: Indexed): Head {
  if (head === null) throw new SyncError("INTERNAL", "a decision is no entry", { key });
  return head;
}

function decisionsOf(recovered: readonly Indexed[]): ReadonlyMap<number, boolean> {
  const decisions = new Map<number, boolean>();
  for (const record of recovered) {
    if (record.kind !== "decision") continue;
    const { intent, happened } = readDecision(record.note);
    decisions.set(intent, happened);
  }
  return decisions;
}

/** The item of a record on disk. In one piece, since a start makes a hundred thousand of them. */
export function itemOf(
  record: Indexed,
  head: Head,
  { waits, first, queuedAt }: Pick<Item, "waits" | "first" | "queuedAt">,
  bodies: Bodies,
): Item {
  const { seq, kind, asOf } = record;
  const body = head.state === "stub" ? readBodyNote(record.note) : undefined;
  if (body !== undefined) bodies.hold(body);
  const condition: "absent" | Version | undefined = kind === "intent" ? readCondition(record.note) : undefined;
  return {
    seq,
    head,
    valueBytes: record.valueBytes,
    condition,
    asOf,
    knownAt: asOf,
    entry: undefined,
    body: body && bodies.open(body),
    place: record.place,
    queuedAt,
    waits,
    flying: 0,
    first,
    sealed: kind === "intent",
    older: undefined,
    waiters: undefined,
    kept: false,
    void: false,
  };
}
