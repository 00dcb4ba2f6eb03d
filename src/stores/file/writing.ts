import { compareEntries, isDead } from "../../entry.ts";
import { SyncError, asSyncError } from "../../error.ts";
import { inParallel } from "../../in-parallel.ts";
import type { Runtime } from "../../runtime.ts";
import { STORED, TOO_OLD, failed } from "../../store.ts";
import type { Answer, CallOptions, Forget, Write, WriteResult } from "../../store.ts";
import type { Version } from "../../version.ts";
import type { Commits, Staged } from "./commit.ts";
import { fileFailure } from "./failures.ts";
import type { FolderLock } from "./lock.ts";
import { givenBy } from "./look.ts";
import type { Found, Looks } from "./look.ts";
import type { SideRecord } from "./record.ts";
import type { Side } from "./side.ts";

/** A write that may change something, and the number of its result. */
interface Pending {
  readonly write: Write;
  readonly at: number;
}

export interface WritingOptions {
  readonly side: Side;
  readonly looks: Looks;
  readonly commits: Commits;
  readonly lock: FolderLock;
  readonly runtime: Runtime;
  readonly valueBytesMax: number;
  /** Something may have changed. */
  readonly onChange: () => void;
}

const AT_ONCE = 16;

/** The calls that change something: values are staged first, then all is decided and stored while the lock is held. */
export class Writing {
  private readonly side: Side;
  private readonly looks: Looks;
  private readonly commits: Commits;
  private readonly lock: FolderLock;
  private readonly runtime: Runtime;
  private readonly valueBytesMax: number;
  private readonly onChange: () => void;

  constructor({ side, looks, commits, lock, runtime, valueBytesMax, onChange }: WritingOptions) {
    this.side = side;
    this.looks = looks;
    this.commits = commits;
    this.lock = lock;
    this.runtime = runtime;
    this.valueBytesMax = valueBytesMax;
    this.onChange = onChange;
  }

  /** @param results those that are known already, of writes that are refused whatever the store holds. */
  async write(
    writes: readonly Write[],
    results: (WriteResult | undefined)[],
    options: CallOptions,
  ): Promise<WriteResult[]> {
    const pending = await this.pending(writes, results);
    if (pending.length > 0) await this.store(pending, results, options);
    return results as WriteResult[];
  }

  async forget(items: readonly Forget[], options: CallOptions): Promise<void> {
    await this.side.create(this.runtime.now());
    await this.lock.hold(options, "forget", async () => {
      await this.commits.sweep();
      const collected = items.filter(({ reason }) => reason === "collected").map(({ version }) => version);
      const highest = collected.reduce<Version | undefined>((a, b) => (a === undefined || b > a ? b : a), undefined);
      if (highest !== undefined) await this.side.raiseWatermark(highest);
      const wanted = new Set(items.map(({ key, version }) => `${version} ${key}`));
      const keys = [...new Set(items.map(({ key }) => key))];
      const looked = await inParallel(keys, AT_ONCE, (key) => this.looks.look(key));
      const going = looked.filter(({ head }) => head !== undefined && wanted.has(`${head.version} ${head.key}`));
      await this.commits.forget(
        going,
        going.map(({ head }) => head?.key ?? ""),
      );
    });
    this.onChange();
  }

  /** Fills in the results of writes that change nothing, and gives back the others. */
  private async pending(writes: readonly Write[], results: (WriteResult | undefined)[]): Promise<Pending[]> {
    const touched = new Set<string>();
    const pending: Pending[] = [];
    const looked = await inParallel([...writes.entries()], AT_ONCE, async ([at, write]) => {
      return results[at] === undefined && write.if === undefined ? this.lookFor(write) : undefined;
    });
    for (const [at, write] of writes.entries()) {
      if (results[at] !== undefined) continue;
      const { key } = write.entry;
      const found = looked[at];
      const outcome = found === undefined || touched.has(key) ? undefined : this.settled(write, found);
      if (outcome !== undefined) results[at] = outcome;
      else {
        touched.add(key);
        pending.push({ write, at });
      }
    }
    return pending;
  }

  /** What is held of a write's key; its bytes only where they decide. A damaged record is replaced by any plain write. */
  private async lookFor({ entry, if: condition }: Write): Promise<Found | undefined> {
    const head = await this.looks.look(entry.key).catch((error: unknown) => {
      if (condition === undefined && error instanceof SyncError && error.code === "CORRUPT") return undefined;
      throw error;
    });
    const isNeeded = head?.head?.version === entry.version || condition !== undefined;
    return isNeeded ? this.looks.look(entry.key, this.valueBytesMax) : head;
  }

  /** What an unconditional write comes to if nothing has to be stored. */
  private settled({ entry, body }: Write, found: Found): WriteResult | undefined {
    const { head } = found;
    if (head === undefined || head.version < entry.version) return undefined;
    if (head.version > entry.version) return { status: "superseded", by: head.version };
    const held = givenBy(found, this.runtime, this.side.store);
    // A version has one value: whether it is in one piece or in many is no difference.
    if (held.body !== undefined || body !== undefined) return head.state === "value" ? STORED : undefined;
    return held.entry !== undefined && compareEntries(entry, held.entry) > 0 ? undefined : STORED;
  }

  private async store(pending: readonly Pending[], results: (WriteResult | undefined)[], options: CallOptions) {
    await this.side.create(this.runtime.now());
    await this.lock.show();
    const staged = new Map<Write, Staged>();
    try {
      await inParallel(pending, AT_ONCE, async ({ write, at }) => {
        if (write.entry.state !== "value" && write.body === undefined) return;
        try {
          staged.set(write, await this.commits.stage(write, options));
        } catch (thrown) {
          const error = asSyncError(thrown);
          const { code } = error;
          if (write.body === undefined || code === "ABORTED" || code === "TIMEOUT") throw error;
          results[at] = failed(error);
        }
      });
      await this.lock.hold(options, "write", () => this.commit(pending, results, staged));
    } catch (error) {
      throw fileFailure(error, { store: this.side.store, operation: "write" });
    } finally {
      await this.commits.drop(staged.values());
      this.onChange();
    }
  }

  private async commit(
    pending: readonly Pending[],
    results: (WriteResult | undefined)[],
    staged: Map<Write, Staged>,
  ): Promise<void> {
    await this.commits.sweep();
    const held = await this.held(pending);
    const watermark = await this.side.watermark();
    const records = new Map<string, { readonly record: SideRecord; readonly write: Write }>();
    for (const { write, at } of pending) {
      if (results[at] !== undefined) continue;
      const { key } = write.entry;
      const before = records.get(key);
      const found = held.get(key);
      const current =
        before === undefined ? found && givenBy(found, this.runtime, this.side.store) : heldBy(before.write);
      const result = await this.decide(write, current, watermark);
      results[at] = result ?? STORED;
      if (result !== undefined) continue;
      const over = before?.record.over ?? found?.source?.file.mark;
      records.set(key, { record: recordOf(write, staged.get(write), over), write });
    }
    for (const { write } of records.values()) staged.delete(write); // the records' from here on
    await this.commits.apply([...records.values()].map(({ record }) => record));
  }

  /** What there is of the keys to be written, once all that somebody did to them is recorded. */
  private async held(pending: readonly Pending[]): Promise<Map<string, Found | undefined>> {
    const all = await inParallel(pending, AT_ONCE, ({ write }) => this.lookFor(write));
    const held = new Map<string, Found | undefined>();
    for (const [i, { write }] of pending.entries()) {
      const { key } = write.entry;
      if (held.get(key)?.bytes === undefined) held.set(key, all[i]); // of two writes one may need the bytes
    }
    for (const { write } of pending) {
      const { key } = write.entry;
      if (held.get(key)?.unsettled !== true) continue;
      await this.commits.settle([key]);
      held.set(key, await this.lookFor(write));
    }
    return held;
  }

  /** The result of a write that stores nothing; undefined when it is to be stored. */
  private async decide(
    { entry, body, if: condition }: Write,
    held: Pick<Answer, "entry" | "body"> | undefined,
    watermark: Version,
  ): Promise<WriteResult | undefined> {
    const current = held?.entry;
    const isMine = current?.version === entry.version;
    if (condition !== undefined && !isMine) {
      const isFree = current === undefined || isDead(current, this.runtime.now());
      const isMet = condition === "absent" ? isFree : current?.version === condition;
      if (!isMet) return { status: "conflict", current };
    }
    if (current === undefined) {
      if (entry.version <= watermark) return TOO_OLD;
    } else if (current.version > entry.version) return { status: "superseded", by: current.version };
    else if (isMine) {
      const isApart = body !== undefined || held?.body !== undefined;
      if (isApart ? current.state !== "deleted" : compareEntries(entry, current) <= 0) return STORED;
    }
    if (entry.state === "deleted") return undefined;
    const refused = await this.commits.refusalOf(entry.key);
    return refused === undefined ? undefined : failed(refused);
  }
}

/** What a write of this call that is about to be stored will have made of its key. */
function heldBy({ entry, body }: Write): Pick<Answer, "entry" | "body"> {
  return body === undefined ? { entry } : { entry, body };
}

function recordOf({ entry }: Write, staged: Staged | undefined, over: string | undefined): SideRecord {
  const { key, version, expires, meta } = entry;
  const about = { key, version, expires, meta, seenNs: undefined } as const;
  if (staged === undefined) return { ...about, state: "deleted", sha256: "", mark: "", staged: undefined, over };
  const { sha256, mark, name } = staged;
  return { ...about, state: "value", sha256, mark, staged: name, over: undefined };
}
