import type { Head } from "../../entry.ts";
import { SyncError } from "../../error.ts";
import { randomBelow } from "../../runtime.ts";
import type { Runtime } from "../../runtime.ts";
import { aborted } from "../../store.ts";
import type { Change, Range, WatchOptions } from "../../store.ts";
import { formatCursor, parseCursor } from "../cursor.ts";
import type { Call, Connection, WatchStream } from "./connection.ts";
import { headOf } from "./decide.ts";
import { changesSince } from "./catch-up.ts";
import { reasonOf } from "./failures.ts";
import { epochFrom, epochOf, epochText } from "./history.ts";
import type { Epoch, History } from "./history.ts";
import type { Layout } from "./layout.ts";
import { Mailbox } from "./mailbox.ts";
import { DELETED } from "./messages.ts";
import type { KeyValue, WatchEvent, WatchResponse } from "./messages.ts";
import type { EtcdReader } from "./reading.ts";

export interface WatcherOptions {
  readonly runtime: Runtime;
  readonly store: string;
  readonly layout: Layout;
  readonly connection: Connection;
  readonly history: History;
  readonly reader: EtcdReader;
  /** A watch that could not go on for so long fails, in milliseconds. */
  readonly timeoutMs: number;
}

/** Answers of the stream that wait for a slow reader. */
const WAITING_MAX = 64;
const BACKOFF_MS = 50;
const BACKOFF_MS_MAX = 2000;
const ENTRIES = 1;
const EPOCH = 2;

type Signal =
  | { readonly kind: "answer"; readonly stream: number; readonly answer: WatchResponse }
  | { readonly kind: "broken"; readonly stream: number; readonly error: SyncError }
  | { readonly kind: "stop"; readonly error: SyncError | undefined }
  | { readonly kind: "gone back" }
  | { readonly kind: "retry" };

/** One watch: the initial state or what a cursor missed, read at one revision; then a stream from the next one on. */
export class EtcdWatch {
  private readonly options: WatcherOptions;
  private readonly range: Range;
  private readonly watchOptions: WatchOptions;
  private readonly callOf: () => Call;
  private stream: WatchStream | undefined = undefined;
  /** Which one is listened to: what came of one before may still wait in the mailbox. */
  private streamNumber = 0;
  private readonly mailbox = new Mailbox<Signal>(WAITING_MAX, {
    pause: () => this.stream?.pause(),
    resume: () => this.stream?.resume(),
  });
  private cluster = "";
  private epoch: Epoch = { name: "0", since: 0 };
  /** Everything up to this revision was told. */
  private told = 0;
  private signedInAgain = false;

  constructor(options: WatcherOptions, range: Range, watchOptions: WatchOptions, callOf: () => Call) {
    this.options = options;
    this.range = range;
    this.watchOptions = watchOptions;
    this.callOf = callOf;
  }

  /** The store was closed: the watch ends quietly. */
  stop(): void {
    this.mailbox.put({ kind: "stop", error: undefined });
  }

  async *changes(): AsyncIterable<Change> {
    const { runtime, store, history } = this.options;
    const { signal, deadline } = this.watchOptions;
    const onAbort = () => this.mailbox.put({ kind: "stop", error: aborted(signal as AbortSignal, store, "watch") });
    const late = () => new SyncError("TIMEOUT", "the deadline passed", { store, operation: "watch" });
    const timer =
      deadline === undefined
        ? undefined
        : runtime.timer(deadline - runtime.monotonic(), () => this.mailbox.put({ kind: "stop", error: late() }));
    signal?.addEventListener("abort", onAbort, { once: true });
    const unlisten = history.onGoneBack(() => this.mailbox.put({ kind: "gone back" }));
    try {
      yield* this.all();
    } catch (error) {
      if (reasonOf(error) !== "gone") throw error;
      yield relist("what was to be told next has been compacted");
    } finally {
      unlisten();
      timer?.cancel();
      signal?.removeEventListener("abort", onAbort);
      this.stream?.cancel();
    }
  }

  private async *all(): AsyncIterable<Change> {
    const { history, reader } = this.options;
    const { cursor, initial = true } = this.watchOptions;
    const begin = await history.epochAt(0, this.callOf());
    const begun = begin.revision;
    ({ cluster: this.cluster, epoch: this.epoch } = begin);
    this.told = begun;
    let from = begun;
    let initialKey: string | undefined;
    let telling = cursor === undefined && initial;
    if (cursor !== undefined) {
      const place = parseCursor(cursor);
      if (place === undefined || !(await this.reaches(place.epoch, place.change, begun))) {
        yield relist("the cursor is of another history, or of another store");
        return;
      }
      ({ change: from, initialKey } = place);
      telling = initialKey !== undefined;
    }
    if (telling) {
      const rows = reader.rows(this.range, { after: initialKey, revision: from }, this.callOf);
      for await (const { key, kv } of rows) {
        const place = { epoch: this.epochText(), change: from, initialKey: key };
        yield { kind: "change", key, head: this.headOf(key, kv), cursor: formatCursor(place) };
      }
    }
    if (from < begun) {
      for await (const { key, kv, revision } of changesSince(this.options, this.range, from, begun, this.callOf)) {
        const head = kv === undefined ? null : this.headOf(key, kv);
        yield { kind: "change", key, head, cursor: this.cursor(revision) };
      }
    }
    yield { kind: "current", cursor: this.cursor(begun) };
    yield* this.live();
  }

  /**
   * Whether the history that a cursor was given in is the one that is there.
   * @throws EtcdError of reason "gone" when it does not go back as far any more.
   */
  private async reaches(text: string, change: number, begun: number): Promise<boolean> {
    const from = epochFrom(text);
    if (from === undefined || from.cluster !== this.cluster) return false;
    const revision = Math.max(change, from.epoch.since);
    if (change < 1 || revision > begun) return false;
    const { epoch } = await this.options.history.epochAt(revision, this.callOf());
    return epoch.name === from.epoch.name && epoch.since === from.epoch.since;
  }

  private async *live(): AsyncIterable<Change> {
    let failures = 0;
    let brokenAt: number | undefined;
    const { runtime, timeoutMs } = this.options;
    await this.connect(failures);
    for (;;) {
      const next = await this.mailbox.take();
      if ("stream" in next && next.stream !== this.streamNumber) continue;
      switch (next.kind) {
        case "stop":
          if (next.error !== undefined) throw next.error;
          return;
        case "gone back":
          yield relist("etcd was set back to an earlier state");
          return;
        case "broken":
          this.streamNumber++;
          brokenAt ??= runtime.monotonic();
          if (runtime.monotonic() - brokenAt >= timeoutMs) throw next.error;
          this.reconnectLater(++failures, next.error);
          break;
        case "retry":
          await this.connect(failures);
          break;
        case "answer": {
          const { answer } = next;
          if (answer.compactRevision > 0) {
            yield relist("what was to be told next has been compacted");
            return;
          }
          if (answer.canceled) {
            this.refused(answer.cancelReason);
            break;
          }
          if (answer.watchId === EPOCH) {
            if (answer.created) await this.follow((brokenAt ?? runtime.monotonic()) + timeoutMs);
            else this.epochChanged(answer.events);
            break;
          }
          if (answer.created) {
            failures = 0;
            brokenAt = undefined;
            this.signedInAgain = false;
          }
          yield* this.events(answer.events);
        }
      }
    }
  }

  private *events(events: readonly WatchEvent[]): Iterable<Change> {
    for (const [i, { type, kv }] of events.entries()) {
      if (kv === undefined || kv.modRevision <= this.told) continue;
      const key = this.options.layout.keyOf(kv.key);
      const following = events[i + 1]?.kv?.modRevision;
      // Changes of one transaction have one revision: the cursor passes it with the last of them.
      const told = following === kv.modRevision ? kv.modRevision - 1 : kv.modRevision;
      if (key !== undefined) {
        const head = type === DELETED ? null : this.headOf(key, kv);
        yield { kind: "change", key, head, cursor: this.cursor(told) };
      }
      this.told = told;
    }
  }

  /** A stream, of the epoch at first. Failures come by the mailbox, like what it tells. */
  private async connect(failures: number): Promise<void> {
    this.stream?.cancel();
    this.stream = undefined;
    const stream = ++this.streamNumber;
    await this.orBroken(async () => {
      this.stream = await this.options.connection.watch(this.callOf(), failures, {
        answer: (answer) => this.mailbox.put({ kind: "answer", stream, answer }),
        end: (error) => this.mailbox.put({ kind: "broken", stream, error }),
      });
      // From now on and not from a revision: etcd may tell what is past 100 ms late, and the entries after it before.
      this.stream.ask({ create: { key: this.options.layout.epoch, startRevision: 0, watchId: EPOCH } });
    });
  }

  /** Each later change of the epoch will be told in its place: the entries, from the first that were not told. */
  private async follow(until: number): Promise<void> {
    await this.orBroken(async () => {
      if (!(await this.sameHistory(until))) return this.mailbox.put({ kind: "gone back" });
      const span = this.options.layout.span(this.range.prefix);
      this.stream?.ask({ create: { ...span, startRevision: this.told + 1, watchId: ENTRIES } });
    });
  }

  private async orBroken(step: () => Promise<void>): Promise<void> {
    try {
      await step();
    } catch (error) {
      if (!(error instanceof SyncError) || !error.retryable) throw error;
      this.mailbox.put({ kind: "broken", stream: this.streamNumber, error });
    }
  }

  /** Whether etcd is what it was. */
  private async sameHistory(until: number): Promise<boolean> {
    const call = this.callOf();
    const now = await this.options.history.epochAt(0, { ...call, deadline: Math.min(call.deadline, until) });
    if (now.cluster !== this.cluster || now.revision < this.told) return false;
    // A name that holds since before what was told last, and was never heard of, is of another history.
    if (now.epoch.name !== this.epoch.name && now.epoch.since <= this.told) return false;
    this.epoch = now.epoch;
    return true;
  }

  private reconnectLater(failures: number, error: SyncError): void {
    const { runtime } = this.options;
    if (!error.retryable && reasonOf(error) !== "token") throw error;
    const limitMs = Math.min(BACKOFF_MS_MAX, BACKOFF_MS * 2 ** (failures - 1));
    runtime.timer(limitMs / 2 + randomBelow(runtime, Math.ceil(limitMs / 2)), () =>
      this.mailbox.put({ kind: "retry" }),
    );
  }

  /** Etcd answers a stream without the right to watch by cancelling it; the token may only have run out. */
  private refused(reason: string): void {
    const { store, connection } = this.options;
    if (!/permission|token|auth/i.test(reason) || this.signedInAgain) {
      const code = /permission|token|auth/i.test(reason) ? "UNAUTHORISED" : "UNAVAILABLE";
      const cure = "see that the user may read what is below the prefix";
      throw new SyncError(code, `etcd ended the watch: ${reason}`, { store, operation: "watch", cure });
    }
    this.signedInAgain = true;
    connection.forgetToken();
    this.mailbox.put({ kind: "retry" });
  }

  private epochChanged(events: readonly WatchEvent[]): void {
    const kv = events.at(-1)?.kv;
    if (kv !== undefined && kv.modRevision > this.epoch.since) this.epoch = epochOf(kv);
  }

  /** Null for what is no entry: whoever reads the key is told why. */
  private headOf(key: string, kv: KeyValue): Head | null {
    try {
      return headOf(key, kv.value, this.options.store);
    } catch (error) {
      if (error instanceof SyncError && error.code === "CORRUPT") return null;
      throw error;
    }
  }

  private cursor(change: number): string {
    return formatCursor({ epoch: this.epochText(), change, initialKey: undefined });
  }

  private epochText(): string {
    return epochText(this.cluster, this.epoch);
  }
}

function relist(reason: string): Change {
  return { kind: "relist", reason };
}
