import { SyncError, asSyncError } from "../error.ts";
import { compareKeys, stubOf } from "../entry.ts";
import type { Copy, Entry, Head } from "../entry.ts";
import type { JournalStatus, Pending } from "../journal/contract.ts";
import type { Journal } from "../journal/journal.ts";
import type { Item, LaneSpec, Settled } from "../journal/queues.ts";
import { STORED, TOO_OLD, failed } from "../store.ts";
import type { CallOptions, Store, Write, WriteResult } from "../store.ts";
import type { Version } from "../version.ts";
import { ackOf } from "./ack.ts";
import type { Ack } from "./ack.ts";
import { forCaller } from "../caller.ts";
import type { ChainWriteOptions } from "./chain.ts";
import { conditional } from "./conditional.ts";
import type { Conditional } from "./conditional.ts";
import { flushBelow } from "./flush-below.ts";
import { forgetCopies } from "./forget.ts";
import { Stuck, goals, metBy } from "./goals.ts";
import type { Goals } from "./goals.ts";
import { invalidate } from "./invalidate.ts";
import { isFor } from "./layer.ts";
import { laneShell } from "./lane.ts";
import { isMemory, lanePlan, maskOf, router } from "./lanes.ts";
import type { LaneShell, LaneStatus } from "./lane.ts";
import type { ChainState } from "./state.ts";
import { notRetryable, notYet, refusedMeanwhile, sayWhatIsLeft, stuckError, undelivered } from "./undelivered.ts";
import { keepBodies, wholeIfSmall } from "./spool.ts";
import type { Floor } from "./walk.ts";
import { copied, forLayer, refusalOf } from "./write.ts";

export interface BehindOptions {
  readonly journal: Journal;
  readonly ack: string | undefined;
  /** The interval of the layer that takes writes first, in milliseconds, and how much longer each store below waits. */
  readonly syncIntervalMs: number;
  readonly syncMultiplier: number;
  /** How long a version is kept as a floor after every layer has it, in milliseconds. */
  readonly copyLifeMs: number;
}

/** The writes of a chain with a journal: on disk at once, in the layers behind that. */
export interface Behind {
  readonly journal: Journal;
  write(self: Store, writes: readonly Write[], options: ChainWriteOptions | undefined): Promise<WriteResult[]>;
  /**
   * What the journal has of these keys, to be merged with what the layers say. With `authority`, the layer that
   * decides is given this node's own entries first.
   */
  copies(
    keys: readonly { readonly key: string }[],
    authority: boolean,
    wholeBytesMax: number,
  ): PendingCopies | Promise<PendingCopies>;
  /** Every store was asked, and none has a newer one. */
  renew(copy: Copy): void;
  /** What the journal has under a prefix, in the order of the keys. */
  under(prefix: string): readonly Pending[];
  flush(call: CallOptions | undefined): Promise<void>;
  /** Sends what every layer lacks of these keys, now. @throws SyncError */
  sendKeys(keys: readonly string[]): Promise<void>;
  /** A layer may have lost what it had: everything that the journal still has is sent to it once more. Never rejects. */
  resend(index: number): Promise<void>;
  laneStatus(index: number): LaneStatus | undefined;
  status(): JournalStatus;
  /** Sends what can be sent within `drainMs`, stops, and gives the journal back. */
  close(drainMs: number): Promise<void>;
}

export type PendingCopies = ReadonlyMap<string, Copy> | undefined;

/** A layer's longest delay when it is not said, in intervals. */
const DELAY_INTERVALS = 5;

export function behind(state: ChainState, options: BehindOptions): Behind {
  const { journal } = options;
  const { runtime } = state;
  const waiting = new Set<Goals>();
  const lanesOf = lanePlan(state);
  const specs: readonly LaneSpec[] = lanesOf.map(({ index }) => {
    const { name, role, store } = state.layers[index] as ChainState["layers"][number];
    return { name, role, shared: store.supports.shared };
  });
  const slots = [...state.layers.keys()].filter((index) => isMemory(state, index));
  let shells: readonly LaneShell[] = [];
  let deciding: Conditional | undefined;

  const look = () => {
    for (const shell of shells) shell.poke();
    for (const goal of waiting) goal.look();
  };

  /** What this process knows from the moment that a write is acknowledged. */
  const learn = (items: readonly Item[]): void => {
    const now = runtime.coarse.now();
    const newest: Item[] = [];
    for (const item of items) {
      const { head } = item;
      // Memory is looked at without a look at floors: it gets nothing that is older than what is known. What an earlier
      // process left in the journal is its own floor.
      const isNewest = state.floors.raise(head, now) || state.floors.version(head.key, now) === head.version;
      if (isNewest && !isBelow(head, journal.newest(head.key))) newest.push(item);
      state.flights.overtake(head.key, head.version);
      state.negatives.delete(head.key);
    }
    for (const index of slots) giveMemory(state, index, newest);
  };

  const landed = (items: readonly Item[]): void => {
    learn(items);
    look();
  };

  const route = router(state, lanesOf);
  const queues = journal.attach(specs, {
    route,
    landed,
    floor: (head, since) => void state.floors.raise(head, since),
    unfloor: ({ key, version }) => state.floors.drop(key, version),
    suspect: (until) => state.floors.suspect(until),
    replayed() {
      state.floors.source = undefined;
      look();
      deciding?.hurry();
    },
    floorMs: options.copyLifeMs,
    report: (message, key) =>
      state.report({ kind: "journal", layer: "journal", message, ...(key === undefined ? {} : { key }) }),
  });
  shells = lanesOf.map(({ index, depth }, i) => {
    const { flushIntervalMs, flushDelayMsMax, store } = state.layers[index] as ChainState["layers"][number];
    const own = store.supports.shared ? options.syncIntervalMs * options.syncMultiplier ** depth : 0;
    const intervalMs = flushIntervalMs ?? own;
    const delayMsMax = flushDelayMsMax ?? intervalMs * DELAY_INTERVALS;
    const { copyLifeMs } = options;
    const lane = queues.lanes[i] as LaneShell["lane"];
    return laneShell({ state, journal, lane, index, intervalMs, delayMsMax, copyLifeMs, onAttempt: look });
  });
  const decider = shells.find((shell) => shell.index === state.authority);
  if (decider !== undefined) {
    const happened = (item: Item) => landed([item]);
    deciding = conditional({ state, journal, deciding: decider, happened, onAttempt: look });
  }
  state.floors.source = (key) => journal.tell(key);
  state.floors.pending = (key) => journal.newest(key)?.head.version;
  journal.begin();

  const waitFor = async (items: Iterable<Item>, mask: number): Promise<Goals> => {
    const goal = goals(shells, items, mask, () => deciding);
    waiting.add(goal);
    for (const shell of shells) shell.hurry(journal.last);
    deciding?.hurry();
    try {
      await goal.met;
    } finally {
      waiting.delete(goal);
    }
    return goal;
  };

  const writePlain = (
    writes: readonly Write[],
    ack: Ack,
    call: ChainWriteOptions | undefined,
  ): Promise<WriteResult[]> => {
    let bytes = 0;
    for (const { entry } of writes) bytes += entry.value?.length ?? 0;
    const entered = journal.enter(writes.length, bytes, call);
    if (entered === undefined) return append(writes, ack, call);
    return entered.then((take) => {
      take();
      return append(writes, ack, call);
    });
  };

  const append = (writes: readonly Write[], ack: Ack, call: ChainWriteOptions | undefined): Promise<WriteResult[]> => {
    const isJudged = ack.kind === "layers" || ack.kind === "all";
    // Where the layers are not waited for, this node says what it knows; else they say it. They get it all the same:
    // what is newer may be in one of them and not in the others yet.
    const results = isJudged ? [] : known(writes);
    const { items, durable } = journal.append(writes, { sealed: isJudged, isGiven: call?.givesBytes === true });
    if (ack.kind === "memory") {
      answerAtOnce(items, durable);
      return Promise.resolve(results);
    }
    return durable.then(
      () => (isJudged ? acked(items, maskOf(lanesOf, ack), call?.ackDeadline) : results),
      (error: unknown) => {
        const refused = failed(asSyncError(error, { store: state.name, operation: "write" }));
        return writes.map(() => refused);
      },
    );
  };

  /** Which writes are older than what this node has written, answered or was told of. */
  const known = (writes: readonly Write[]): WriteResult[] => {
    const now = runtime.coarse.now();
    const before = writes.length > 1 ? new Map<string, Version>() : undefined;
    const results: WriteResult[] = [];
    for (const { entry } of writes) {
      const { key, version } = entry;
      const by = newer(newer(state.floors.version(key, now), journal.newest(key)?.head.version), before?.get(key));
      const isOlder = by !== undefined && by > version;
      if (!isOlder) before?.set(key, version);
      results.push(isOlder ? { status: "superseded", by } : STORED);
    }
    return results;
  };

  const answerAtOnce = (items: readonly Item[], durable: Promise<void>): void => {
    const takeBack = journal.answerEarly(items);
    const before = items.map(({ head }) => state.floors.get(head.key, runtime.coarse.now()));
    learn(items);
    const written = durable.catch(async (error: unknown) => {
      takeBack();
      const { message } = asSyncError(error);
      for (const [i, { head }] of items.entries()) {
        state.floors.drop(head.key, head.version);
        // What was known before is known still.
        const floor = before[i];
        if (floor !== undefined) state.floors.raise(headBefore(head, floor), runtime.now());
        const what = `acknowledged by memory alone and not written: ${message}`;
        state.report({ kind: "write-failed", layer: "journal", key: head.key, message: what });
      }
      for (const { head } of items) await forgetCopies(state, head);
    });
    state.background.add(written);
  };

  /** Waits for layers, until the deadline, and says what they did with each write. */
  const acked = async (items: readonly Item[], mask: number, deadline = Infinity): Promise<WriteResult[]> => {
    const goal = goals(shells, items, mask, () => deciding);
    waiting.add(goal);
    const firsts = items.reduce((bits, { first }) => bits | first, 0);
    for (const shell of shells) {
      if ((shell.lane.bit & (mask | firsts)) !== 0) shell.hurry(items.at(-1)?.seq ?? 0);
    }
    const stuck = await metBy(goal, deadline, runtime).finally(() => waiting.delete(goal));
    return items.map((item) => resultOf(item, goal, mask, stuck));
  };

  const resultOf = (item: Item, { outcomes }: Goals, mask: number, stuck: Stuck | undefined): WriteResult => {
    const { key } = item.head;
    for (const outcome of outcomes.get(item) ?? []) {
      if (outcome.status === "too-old") return TOO_OLD;
      if (outcome.status === "refused") return failed(asSyncError(outcome.error, { store: state.name, key }));
    }
    if (stuck !== undefined && (item.waits & mask) !== 0) return failed(notYet(stuck, state.name, key));
    const by = outcomes.get(item)?.reduce<Version | undefined>((newest, outcome) => {
      if (outcome.status !== "superseded") return newest;
      return newest === undefined || outcome.by > newest ? outcome.by : newest;
    }, undefined);
    return by === undefined ? STORED : { status: "superseded", by };
  };

  const writeConditional = async (
    write: Write,
    ack: Ack,
    call: ChainWriteOptions | undefined,
  ): Promise<WriteResult> => {
    if (deciding === undefined) {
      return failed(new SyncError("UNSUPPORTED", "no layer of the chain can compare-and-set", { store: state.name }));
    }
    const { result, item } = await deciding.write(copied(write), call);
    if (result.status !== "stored" || item === undefined) {
      learnRefusal(state, write, result);
      return result;
    }
    if (ack.kind !== "layers" && ack.kind !== "all") return result;
    const [waited = STORED] = await acked([item], maskOf(lanesOf, ack), call?.ackDeadline);
    // It has happened: made anew it would be judged against itself.
    return waited.status === "failed" ? failed(notRetryable(waited.error)) : result;
  };

  const writeAll = (
    self: Store,
    writes: readonly Write[],
    call: ChainWriteOptions | undefined,
  ): Promise<WriteResult[]> => {
    const ack = ackOf(state, call?.ack ?? options.ack, true);
    const [only] = writes;
    // The usual case, for what it saves.
    if (writes.length === 1 && only !== undefined && only.if === undefined) {
      const refused = refusalOf(state, self, only);
      return refused === undefined ? writePlain(writes, ack, call) : Promise.resolve([refused]);
    }
    return writeEach(self, writes, ack, call);
  };

  const writeEach = async (
    self: Store,
    writes: readonly Write[],
    ack: Ack,
    call: ChainWriteOptions | undefined,
  ): Promise<WriteResult[]> => {
    const results = writes.map((write) => refusalOf(state, self, write));
    // Writes of one call take effect in their order, the conditional ones among them.
    for (let at = 0; at < writes.length;) {
      const write = writes[at] as Write;
      if (results[at] !== undefined) {
        at++;
        continue;
      }
      if (write.if !== undefined) {
        results[at] = await writeConditional(write, ack, call);
        at++;
        continue;
      }
      const run: number[] = [];
      for (; at < writes.length && writes[at]?.if === undefined; at++) if (results[at] === undefined) run.push(at);
      const done = await writePlain(
        run.map((i) => writes[i] as Write),
        ack,
        call,
      );
      for (const [i, place] of run.entries()) results[place] = done[i];
    }
    return results.map((result, i) => result ?? failed(noResult(state, writes[i])));
  };

  const load = async (
    pendings: readonly Pending[],
    authority: boolean,
    wholeBytesMax: number,
  ): Promise<PendingCopies> => {
    let found = pendings;
    if (authority && decider !== undefined) {
      // What the layer that decides says afterwards has this node's own writes in it.
      await Promise.allSettled(pendings.map(({ head }) => decider.sendKey(head.key)));
      found = pendings.flatMap(({ head }) => journal.newest(head.key) ?? []);
    }
    const copies = new Map<string, Copy>();
    for (const pending of found) copies.set(pending.head.key, await copyOf(pending, wholeBytesMax));
    return copies;
  };

  const copyOf = async (pending: Pending, wholeBytesMax: number): Promise<Copy> => {
    try {
      return { ...(await wholeIfSmall(journal, pending, wholeBytesMax)), asOf: pending.knownAt };
    } catch (error) {
      // Its version is known, so that nothing older is answered.
      const { head } = pending;
      state.report({ kind: "journal", layer: "journal", key: head.key, message: asSyncError(error).message });
      return { entry: stubOf(head), asOf: pending.knownAt };
    }
  };

  return {
    journal,
    write(self, writes, call) {
      const work = areKept(journal, writes)
        ? writeAll(self, writes, call)
        : keepBodies(journal, writes, call, (own) => writeAll(self, own, call));
      return forCaller(work, call, runtime, state.name, "write");
    },
    copies(keys, authority, wholeBytesMax) {
      const found: Pending[] = [];
      for (const { key } of keys) {
        const pending = journal.newest(key);
        if (pending !== undefined) found.push(pending);
      }
      if (found.length === 0) return undefined;
      const isInMemory = ({ entry, body }: Pending) =>
        entry !== undefined && (body === undefined || body.size > wholeBytesMax);
      if (authority || !found.every(isInMemory)) return load(found, authority, wholeBytesMax);
      return new Map(
        found.map(({ entry, body, head, knownAt }) => [head.key, { entry: entry as Entry, body, asOf: knownAt }]),
      );
    },
    renew({ entry, asOf }) {
      const pending = journal.newest(entry.key);
      if (pending?.head.version === entry.version) pending.knownAt = Math.max(pending.knownAt, asOf);
    },
    under(prefix) {
      const found: Pending[] = [];
      for (const key of journal.keys()) {
        const pending = key.startsWith(prefix) ? journal.newest(key) : undefined;
        if (pending !== undefined) found.push(pending);
      }
      return found.sort((a, b) => compareKeys(a.head.key, b.head.key));
    },
    async flush(call) {
      const last = await journal.quiet();
      queues.seal(last);
      const items = [...queues.live.values()].filter(({ seq }) => seq <= last);
      const before = journal.letters;
      let goal: Goals;
      try {
        goal = await waitFor(items, -1);
      } catch (error) {
        throw error instanceof Stuck ? stuckError(error, state.name) : error;
      }
      // Those that were sent again meanwhile have arrived nowhere yet.
      const letters = [...new Set([...before, ...journal.letters])].filter(({ seq }) => seq <= last);
      if (letters.length > 0) throw undelivered(letters, state.name);
      const refused = items.find((item) => goal.outcomes.get(item)?.some(isRefusal));
      if (refused !== undefined) throw refusedMeanwhile(refused.head.key, state.name);
      await flushBelow(state, call);
    },
    async sendKeys(keys) {
      const ordered = [...shells].sort((a, b) => Number(b === decider) - Number(a === decider));
      for (const shell of ordered) for (const key of keys) await shell.sendKey(key);
    },
    async resend(index) {
      const shell = shells.find((each) => each.index === index);
      if (shell === undefined) return;
      try {
        const count = await journal.resend(shell.lane);
        const message = `it may have lost what it had: ${count} entries of the journal are sent again`;
        if (count > 0) state.report({ kind: "journal", layer: shell.calls.layer.name, message });
        look();
      } catch (error) {
        const message = `what the journal keeps could not be sent again: ${asSyncError(error).message}`;
        state.report({ kind: "journal", layer: shell.calls.layer.name, message });
      }
    },
    laneStatus(index) {
      journal.replayAll();
      return shells.find((shell) => shell.index === index)?.status();
    },
    status: () => journal.status(),
    async close(drainMs) {
      const last = await journal.quiet();
      const items = [...queues.live.values()].filter(({ seq }) => seq <= last);
      const time = new Promise<void>((resolve) => {
        const timer = runtime.timer(drainMs, resolve);
        const stop = () => {
          timer.cancel();
          resolve();
        };
        waitFor(items, -1).then(stop, stop);
      });
      await time;
      await Promise.all([...shells.map((shell) => shell.stop()), deciding?.stop()]);
      sayWhatIsLeft(state, journal, shells);
      await journal.close();
    },
  };
}

/** Bodies that are not the journal's are taken into it first, since they have to outlive the call. */
function areKept(journal: Journal, writes: readonly Write[]): boolean {
  for (const { body } of writes) if (body !== undefined && !journal.bodies.owns(body)) return false;
  return true;
}

function giveMemory(state: ChainState, index: number, items: readonly Item[]): void {
  const calls = state.calls[index];
  if (calls === undefined) return;
  const { layer } = calls;
  const writes: Write[] = [];
  for (const { entry, asOf } of items) {
    if (entry !== undefined && isFor(layer.prefixes, entry.key)) writes.push(forLayer(layer, { entry, asOf }));
  }
  if (writes.length === 0) return;
  calls.counts.writes += writes.length;
  try {
    state.slots[index]?.writeNow(writes);
  } catch (error) {
    state.report({ kind: "write-failed", layer: layer.name, message: asSyncError(error).message });
  }
}

function newer(a: Version | undefined, b: Version | undefined): Version | undefined {
  return a === undefined || (b !== undefined && b > a) ? b : a;
}

/** What is known of a key again, when the write that came after it is taken back. */
function headBefore(head: Head, { version, dead }: Floor): Head {
  return { ...head, version, state: dead ? "deleted" : "value", expires: null };
}

function isBelow({ version }: Head, pending: Pending | undefined): boolean {
  return pending !== undefined && pending.head.version > version;
}

function isRefusal({ status }: Settled): boolean {
  return status === "refused" || status === "too-old";
}

/** What a refused condition tells this process. */
function learnRefusal(state: ChainState, { entry }: Write, result: WriteResult): void {
  const current: Head | undefined = result.status === "conflict" ? result.current : undefined;
  if (current === undefined) state.flights.overtake(entry.key);
  else invalidate(state, state.authority, [current]);
}

function noResult(state: ChainState, write: Write | undefined): SyncError {
  const key = write === undefined ? {} : { key: write.entry.key };
  return new SyncError("INTERNAL", "the write got no result", { store: state.name, ...key });
}
