import { SyncError, asSyncError } from "../error.ts";
import { backoffMsMax, classify } from "../journal/flush.ts";
import type { Journal } from "../journal/journal.ts";
import { mayReturn } from "../journal/segments.ts";
import type { Item } from "../journal/queues.ts";
import { randomBelow } from "../runtime.ts";
import type { Timer } from "../runtime.ts";
import { failed } from "../store.ts";
import type { CallOptions, Write, WriteResult } from "../store.ts";
import { fillFromBelow } from "./from-below.ts";
import { indeterminate, isUndecided, undecided } from "./give.ts";
import type { LaneShell } from "./lane.ts";
import type { ChainState } from "./state.ts";
import { entriesFor } from "./stream.ts";
import { inFirst } from "./write.ts";

/** What became of a conditional write, and the item of one that happened. */
interface Decided {
  readonly result: WriteResult;
  readonly item: Item | undefined;
}

/** Conditional writes of a chain with a journal. */
export interface Conditional {
  /**
   * One conditional write: this node's own pending entry of the key goes to the deciding layer first, the intent is on
   * disk before it is sent, and what stays open is sent again, the same version under the same condition, until it is
   * decided. Never rejects.
   */
  write(write: Write, call?: CallOptions): Promise<Decided>;
  /** Sends what is open again, now. */
  hurry(): void;
  readonly trouble: SyncError | undefined;
  readonly attempts: number;
  stop(): Promise<void>;
}

export interface ConditionalOptions {
  readonly state: ChainState;
  readonly journal: Journal;
  /** The layer that decides; its index in the chain is `deciding.index`. */
  readonly deciding: LaneShell;
  /** A conditional write happened: memory and the other layers may have it. */
  readonly happened: (item: Item) => void;
  readonly onAttempt: () => void;
}

/** The first wait before what is open is sent again is random up to this, doubling up to the second figure. */
const BACKOFF_MS = 100;
const BACKOFF_MS_MAX = 30_000;

/** What came of sending a conditional write. */
type Sent =
  | { readonly kind: "decided"; readonly result: WriteResult }
  /** It may have happened. `error` says why that is not known. */
  | { readonly kind: "open"; readonly error: SyncError }
  /** It was not sent. */
  | { readonly kind: "unsent"; readonly error: SyncError };

export function conditional(options: ConditionalOptions): Conditional {
  const { state, journal, deciding, happened, onAttempt } = options;
  const { runtime } = state;
  const { calls } = deciding;
  const { layer } = calls;
  /** Conditional writes of one key come one after the other. */
  const turns = new Map<string, Promise<unknown>>();
  let failures = 0;
  let attempts = 0;
  let trouble: SyncError | undefined;
  let timer: Timer | undefined;
  let resolving: Promise<void> | undefined;
  let stopped = false;

  const send = async (item: Item, wasSent: boolean): Promise<Sent> => {
    const { key } = item.head;
    // What was sent before may have happened, though it is not sent again now.
    const unsent = (error: SyncError): Sent => (wasSent ? open(key, error) : { kind: "unsent", error });
    let write: Write;
    try {
      write = inFirst(layer, {
        entry: await journal.body(item),
        asOf: item.asOf,
        if: item.condition,
        body: item.body,
      });
      await deciding.paid();
    } catch (error) {
      return unsent(unsentError(error, key));
    }
    const isLeftAlone = calls.isLeftAlone();
    const refused = (error: SyncError): Sent => {
      const kind = classify(error);
      // Who is refused now, as a layer does that lacks credentials, may have been heard before.
      const isOpen = kind === "again" || (wasSent && kind === "pause");
      return isOpen ? open(key, error) : { kind: "decided", result: failed(error) };
    };
    try {
      const [result] = await calls.call("write", (call) => layer.store.write([write], call), entriesFor([write]));
      calls.counts.writes++;
      if (result === undefined) throw new SyncError("INTERNAL", "the layer gave a write no result", { key });
      if (result.status === "failed") return refused(result.error);
      if (!wasSent || !isUndecided(write, result)) return { kind: "decided", result };
      // What is there may stand upon it, or have come in its place: nobody can tell any more, and nothing depends on it.
      const cause = new SyncError("CONFLICT", "a newer version is there", { store: layer.name, key });
      return { kind: "decided", result: failed(indeterminate(cause, key, layer)) };
    } catch (thrown) {
      const error = asSyncError(thrown, { store: layer.name, operation: "write" });
      if (isLeftAlone) return unsent(error);
      return refused(error);
    }
  };

  const open = (key: string, error: SyncError): Sent => {
    return { kind: "open", error: error.code === "INDETERMINATE" ? error : indeterminate(error, key, layer) };
  };

  /** Takes the outcome in. @throws SyncError UNAVAILABLE when it cannot be written down: then it stays open. */
  const settle = async (item: Item, result: WriteResult): Promise<void> => {
    const isStored = result.status === "stored";
    await journal.decide(item, isStored);
    if (isStored) happened(item);
  };

  const refusedBy = (error: unknown, key: string): Decided => ({
    result: failed(asSyncError(error, { store: state.name, key })),
    item: undefined,
  });

  const decideNow = async (write: Write, call: CallOptions | undefined): Promise<Decided> => {
    const { key } = write.entry;
    // A conditional write like another: what it did is not forgotten, whatever happens in between.
    const writeAnew = async (anew: Write) => (await decide(anew, call)).result;
    try {
      await resolveKey(key);
      await deciding.sendKey(key);
      await fillFromBelow(state, deciding.index, calls, [write], writeAnew);
    } catch (error) {
      return refusedBy(unsentError(error, key), key);
    }
    return decide(write, call);
  };

  /** From the intent on. */
  const decide = async (write: Write, call: CallOptions | undefined): Promise<Decided> => {
    const { key } = write.entry;
    const refused = (error: unknown) => refusedBy(error, key);
    let item: Item;
    try {
      const entered = journal.enter(1, write.entry.value?.length ?? 0, call);
      if (entered !== undefined) (await entered)();
      item = await journal.intend(write);
    } catch (error) {
      return refused(mayReturn(error) ? indeterminate(error, key, layer) : error);
    }
    let sent: Sent;
    try {
      // What was written between the look and the intent comes before it too.
      await deciding.sendKey(key);
      sent = await send(item, false);
      if (sent.kind === "open") sent = await send(item, true);
    } catch (error) {
      sent = { kind: "unsent", error: unsentError(error, key) };
    }
    if (sent.kind === "open") {
      later();
      return { result: failed(sent.error), item: undefined };
    }
    const result = sent.kind === "decided" ? sent.result : failed(sent.error);
    try {
      await settle(item, result);
    } catch (error) {
      later();
      return refused(undecided(asSyncError(error), write, layer));
    }
    return { result, item };
  };

  const unsentError = (error: unknown, key: string): SyncError => {
    const reason = asSyncError(error, { store: layer.name, operation: "write", key });
    if (reason.code === "UNAVAILABLE" || !reason.retryable) return reason;
    return new SyncError("UNAVAILABLE", `the layer that decides did not answer: ${reason.what}`, {
      store: layer.name,
      operation: "write",
      key,
      cause: reason,
      cure: "try again",
    });
  };

  /** An earlier conditional write of the key has to be decided before another is made. */
  const resolveKey = async (key: string): Promise<void> => {
    const item = journal.undecided.get(key);
    if (item === undefined) return;
    await resolve(item);
    if (journal.undecided.get(key) === item) {
      throw new SyncError("UNAVAILABLE", "an earlier conditional write of the key is not decided", {
        store: layer.name,
        operation: "write",
        key,
        cure: "try again",
      });
    }
  };

  /** @throws SyncError when it stays open. */
  const resolve = async (item: Item): Promise<void> => {
    await deciding.sendKey(item.head.key);
    const sent = await send(item, true);
    if (sent.kind !== "decided") throw sent.error;
    await settle(item, sent.result);
  };

  const resolveAll = async (): Promise<void> => {
    for (const item of Array.from(journal.undecided.values())) {
      if (stopped) return;
      const { key } = item.head;
      // One that a caller is at is his.
      if (turns.has(key)) continue;
      try {
        await inTurn(key, () => (journal.undecided.get(key) === item ? resolve(item) : Promise.resolve()));
        failures = 0;
        trouble = undefined;
      } catch (error) {
        failures++;
        trouble = asSyncError(error, { store: layer.name, operation: "write" });
      }
      attempts++;
      onAttempt();
    }
  };

  const inTurn = <T>(key: string, work: () => Promise<T>): Promise<T> => {
    const before = turns.get(key) ?? Promise.resolve();
    const mine = before.then(work);
    const ended = mine.then(
      () => undefined,
      () => undefined,
    );
    turns.set(key, ended);
    void ended.then(() => {
      if (turns.get(key) === ended) turns.delete(key);
    });
    return mine;
  };

  const later = (): void => {
    if (stopped || timer !== undefined || resolving !== undefined) return;
    const waitMs = 1 + randomBelow(runtime, backoffMsMax(failures + 1, BACKOFF_MS, BACKOFF_MS_MAX));
    timer = runtime.timer(waitMs, now, true);
  };

  const now = (): void => {
    timer?.cancel();
    timer = undefined;
    if (stopped || resolving !== undefined || journal.undecided.size === 0) return;
    resolving = resolveAll().finally(() => {
      resolving = undefined;
      if (journal.undecided.size > 0) later();
    });
    state.background.add(resolving);
  };

  return {
    write: (write, call) => inTurn(write.entry.key, () => decideNow(write, call)),
    hurry: now,
    get trouble() {
      return trouble;
    },
    get attempts() {
      return attempts;
    },
    async stop() {
      stopped = true;
      timer?.cancel();
      await resolving;
      await Promise.all(turns.values());
    },
  };
}
