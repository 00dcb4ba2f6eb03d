import type { SyncError } from "../../error.ts";
import { SyncError as Failure, asSyncError } from "../../error.ts";
import { randomBelow, sleep } from "../../runtime.ts";
import type { Runtime } from "../../runtime.ts";
import type { CallOptions } from "../../store.ts";
import { VERSION_ZERO } from "../../version.ts";
import type { Version, VersionClock } from "../../version.ts";
import { adoptedVersion } from "./adopt.ts";
import { findUnadopted } from "./evidence.ts";
import type { Unadopted } from "./adopt.ts";
import { emptyHistory, saveHistory } from "./history.ts";
import type { History } from "./history.ts";
import type { Place, Seen } from "./place.ts";
import { plan } from "./plan.ts";
import type { KeyChange } from "./plan.ts";
import { FORMAT, FORMAT_PATH, README, README_PATH, WATERMARK_PATH, recordName } from "./record.ts";
import { scan } from "./scan.ts";
import { trailers } from "./trailers.ts";
import type { Candidate, Scanned } from "./scan.ts";
import { inRepository } from "./names.ts";
import type { LargeFiles, Naming } from "./names.ts";
import { NOTHING, look, sideAt, watermarkOf } from "./snapshot.ts";
import type { Known, View } from "./snapshot.ts";
import type { LayoutReport } from "./report.ts";

export interface BranchSettings {
  /** The store's name, for errors. */
  readonly store: string;
  readonly runtime: Runtime;
  readonly clock: VersionClock;
  readonly place: Place;
  readonly prefix: string;
  /** `Name <address>` for commits. */
  readonly author: string;
  /** Where the history is kept between two processes; undefined: nowhere. */
  readonly historyFile: string | undefined;
  readonly report: (event: LayoutReport) => void;
  readonly large: LargeFiles | undefined;
}

/** What one commit of Sync is to do. */
export interface Draft {
  readonly changes: readonly KeyChange[];
  /** Undefined: as it is. */
  readonly watermark: Version | undefined;
  readonly subject: string;
}

const RACES_MAX = 50;
const LOOKS_MAX = 4;
const BAD_PATHS_MAX = 1_000;
/** Git is asked to tidy up after so many commits. */
const TIDY_EVERY = 500;
/** The history is saved again after so many commits. */
const SAVE_EVERY = 1_000;

/** A branch's head, followed: every commit is read once, and what persons changed gets its version, before it is shown. */
export class Branch {
  readonly naming: Naming;
  readonly place: Place;
  private readonly settings: BranchSettings;
  private history: History;
  private savedLength: number;
  private current: View;
  private tail: Promise<unknown> = Promise.resolve();
  private tidying: Promise<void> = Promise.resolve();
  private published = 0;
  private readonly badPaths = new Set<string>();
  private readonly listeners = new Set<() => void>();
  /** How often the branch was rewritten since it was opened. */
  rewrites = 0;
  /** Counts what changes the history; a view carries the count at which it was shown. */
  private stamp = 0;
  /** Above 0 while what is shown is about to get its versions: readers wait for them. */
  private adopting = 0;

  /** @param history what is known from before; its commit need not be on the branch any more. */
  constructor(settings: BranchSettings, history: History | undefined) {
    this.settings = settings;
    this.place = settings.place;
    const { store, prefix, large } = settings;
    this.naming = { store, repository: settings.place.repository, prefix, large };
    this.history = history ?? emptyHistory();
    this.savedLength = this.history.length;
    this.current = NO_VIEW;
  }

  /** The branch as of an asking that began after `notBefore`, and when that began. */
  async view(notBefore: number): Promise<{ view: View; asOf: number }> {
    const { published } = this;
    const seen = await this.place.head(notBefore);
    const isShown = seen.commit === this.current.commit && this.current !== NO_VIEW && this.adopting === 0;
    if (isShown) return { view: this.current, asOf: seen.asOf };
    return this.exclusive(async () => {
      // What was seen before a commit of our own would take the view back to the state before it.
      const { commit, asOf } = published === this.published ? seen : await this.place.head(notBefore);
      return { view: await this.follow({ commit, asOf }), asOf };
    });
  }

  /** Runs one task at a time: whatever moves the view. */
  exclusive<T>(task: () => Promise<T>): Promise<T> {
    const run = this.tail.then(task);
    this.tail = run.catch(() => {}); // its caller is told; the next task does not depend on it
    return run;
  }

  /** The commit that was shown last. */
  get shown(): string | null {
    return this.current.commit;
  }

  /** Calls back when this store itself has moved the branch. */
  onOwnCommit(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /**
   * Commits what `draft` makes of the newest view, and again on a newer one as long as somebody else is faster.
   * Call it within {@link exclusive}. `notBefore` is how fresh the first view must be; a lost race asks anew.
   */
  async commit<T>(
    notBefore: number,
    draft: (view: View, asOf: number) => Promise<{ draft: Draft | undefined; result: T }>,
    options: CallOptions = {},
  ): Promise<{ result: T; failures: ReadonlyMap<string, SyncError> }> {
    let since = notBefore;
    for (let race = 0; race < RACES_MAX; race++) {
      if (race > 2) await sleep(this.settings.runtime, randomBelow(this.settings.runtime, 20 * race));
      const seen = await this.place.head(since);
      const view = await this.follow(seen);
      const made = await draft(view, seen.asOf);
      if (made.draft === undefined) return { result: made.result, failures: NO_FAILURES };
      const outcome = await this.publish(view, made.draft, options);
      if (outcome !== undefined) return { result: made.result, failures: outcome };
      since = this.settings.runtime.now();
    }
    throw new Failure("UNAVAILABLE", `the branch ${this.place.branch} moved ${RACES_MAX} times during one write`, {
      cure: "try again, or let fewer writers commit at once",
    });
  }

  /** See `Place.interrupt`. */
  interrupt(): void {
    this.place.interrupt();
  }

  async close(): Promise<void> {
    await this.tail;
    await this.tidying;
    if (this.history.commit !== null && this.history.length !== this.savedLength) await this.save();
    await this.naming.large?.files.close();
    await this.place.close();
  }

  /** Undefined: the race was lost. */
  private async publish(
    view: View,
    { changes, watermark, subject }: Draft,
    options: CallOptions = {},
  ): Promise<ReadonlyMap<string, SyncError> | undefined> {
    const { deletes, files, failures } = await plan(this.naming, view, changes);
    const at = (path: string) => inRepository(this.naming.prefix, path);
    const put = (path: string, text: string) => files.push({ path: at(path), content: Buffer.from(text) });
    if (watermark !== undefined) put(WATERMARK_PATH, `${watermark}\n`);
    if (files.length === 0 && deletes.length === 0) return failures;
    if (!view.side) {
      put(FORMAT_PATH, FORMAT);
      put(README_PATH, README);
    }
    const { runtime, author, prefix } = this.settings;
    const message = `${subject}\n\n${trailers(view.commit, prefix)}`;
    const made = { parent: view.commit, message, author, timeMs: runtime.now(), deletes, files };
    const commit = await this.place.publish(made, options);
    if (commit === undefined) return undefined;
    this.advance(view, commit, changes, failures, watermark);
    for (const listener of this.listeners) listener();
    if (++this.published % TIDY_EVERY === 0) this.tidy();
    return failures;
  }

  /** Lets git pack what has piled up, beside everything else. Git itself decides whether it is worth it. */
  private tidy(): void {
    const { report, store } = this.settings;
    const run = async () => {
      const error = await this.place.tidy();
      if (error !== undefined) report({ kind: "untidy", error });
    };
    this.tidying = this.tidying.then(run).catch((error: unknown) => {
      report({ kind: "untidy", error: asSyncError(error, { store }) });
    });
  }

  /** The view after our own commit: nothing has to be read for it. */
  private advance(
    view: View,
    commit: string,
    changes: readonly KeyChange[],
    failures: ReadonlyMap<string, SyncError>,
    watermark: Version | undefined,
  ): void {
    const pending = new Map(view.pending);
    this.stamp++;
    for (const { key, record } of changes) {
      if (failures.has(key)) continue;
      this.history.touches.delete(key);
      if (record === null) this.history.forgotten.add(recordName(key));
      else this.history.forgotten.delete(recordName(key));
      pending.delete(key);
    }
    this.history = { ...this.history, commit, length: this.history.length + 1 };
    this.show({ commit, history: this.history, pending, side: true, watermark: watermark ?? view.watermark });
  }

  private show(view: Omit<View, "stamp">): View {
    this.current = { ...view, stamp: ++this.stamp };
    return this.current;
  }

  /**
   * What a view knows of keys, or a newer one if the branch moved while it was looked at: a history that goes on in
   * the meantime would make keys look absent that are not.
   */
  async look(view: View, keys: readonly string[]): Promise<Known[]> {
    let at = view;
    for (let tries = 0; tries < LOOKS_MAX; tries++) {
      const known = await look(this.naming, at, keys);
      if (at.stamp === this.stamp) return known;
      at = await this.exclusive(async () => this.current);
    }
    return this.exclusive(() => look(this.naming, this.current, keys));
  }

  /** The view of what was seen, adopting what has to be. */
  private async follow(seen: Seen): Promise<View> {
    const { commit } = seen;
    if (this.current !== NO_VIEW && this.current.commit === commit) return this.current;
    if (commit === null) {
      if (this.current.commit !== null) throw gone(this.settings.store, this.place.branch);
      return this.show(EMPTY_VIEW);
    }
    const { candidates, scanned } = await this.read(commit);
    const { side, watermark } = await sideAt(this.naming, commit);
    const next = { commit, history: this.history };
    const before = this.current.pending;
    const met = new Set(candidates.map(({ name }) => name));
    const again = [...before].map(([key, { node }]) => candidateOf(key, node)).filter(({ name }) => !met.has(name));
    const unadopted = await findUnadopted({
      naming: this.naming,
      commit,
      history: this.history,
      side,
      candidates: [...candidates, ...again],
      before,
    });
    const floor = await this.watermarkFloor(scanned.watermarks, watermark);
    const view = this.show({ ...next, pending: unadopted.provisional, side, watermark: floor });
    const settled = unadopted.items.length === 0 && floor === watermark;
    if (!settled) this.adopting++;
    const adopted = () => this.adopt(view, unadopted.items, floor === watermark ? undefined : floor);
    const shown = settled ? view : await adopted().finally(() => this.adopting--);
    if (this.history.length - this.savedLength >= SAVE_EVERY) await this.save();
    return shown;
  }

  /** Brings the history up to `commit`; from the root again when the branch was rewritten. */
  private async read(
    commit: string,
  ): Promise<{ candidates: readonly Candidate[]; scanned: Pick<Scanned, "watermarks"> }> {
    const { repository } = this.naming;
    const { prefix } = this.settings;
    const onBadPath = (path: string) => this.badPath(path);
    let scanned: Scanned | undefined;
    if (this.history.commit === commit) return { candidates: [], scanned: NOTHING_NEW };
    if (this.history.commit !== null) {
      const from = this.history;
      scanned = await scan({ repository, prefix, from, to: commit, onBadPath });
    }
    this.stamp++;
    if (scanned?.onLine === true) {
      scanned.apply(this.history);
      this.history = { ...this.history, commit, length: scanned.length };
      return { candidates: scanned.candidates, scanned };
    }
    if (this.current.commit !== null) {
      this.rewrites++;
      this.settings.report({ kind: "rewritten", branch: this.place.branch });
    }
    const history = emptyHistory();
    scanned = await scan({ repository, prefix, from: history, to: commit, onBadPath });
    if (!scanned.onLine) {
      throw new Failure("UNSUPPORTED", "the repository is shallow: where its commits stand cannot be counted", {
        cure: "git fetch --unshallow",
      });
    }
    scanned.apply(history);
    this.history = { ...history, commit, length: scanned.length };
    this.current = { ...this.current, pending: new Map() };
    this.savedLength = -Infinity;
    return { candidates: scanned.candidates, scanned };
  }

  private async save(): Promise<void> {
    const { historyFile, runtime, report, store } = this.settings;
    // What is pending is found again by reading the same commits again, and by nothing else.
    if (historyFile === undefined || this.current.pending.size > 0) return;
    this.savedLength = this.history.length;
    try {
      await saveHistory(runtime, historyFile, this.history);
    } catch (error) {
      report({ kind: "no-cache", error: asSyncError(error, { store }) });
    }
  }

  private async watermarkFloor(ids: ReadonlySet<string>, current: Version): Promise<Version> {
    const found = await this.naming.repository.contents([...ids]);
    const all = found.flatMap((object) => (object === undefined ? [] : [watermarkOf(object.bytes)]));
    return all.reduce((a, b) => (a > b ? a : b), current);
  }

  /** Gives versions, and commits them. Whoever comes second reads them instead. */
  private async adopt(view: View, items: readonly Unadopted[], watermark: Version | undefined): Promise<View> {
    const { report, clock } = this.settings;
    if (this.place.refusesWrites !== undefined) {
      report({ kind: "provisional", keys: items.length, error: undefined });
      return view;
    }
    const changes: KeyChange[] = [];
    for (const { key, state, file, base, meta, storage } of items) {
      const known = view.pending.get(key);
      // Above what was shown provisionally, too.
      const above = known?.head !== undefined && known.head.version > base ? known.head.version : base;
      const version = await adoptedVersion(clock, above, known?.node ?? clock.node);
      const record = {
        key,
        state: state === "value" ? "value" : "deleted",
        version,
        blob: file ?? null,
        expires: null,
        meta,
        storage,
      } as const;
      changes.push({ key, record, bytes: undefined, known: known ?? NOTHING, recordOnly: true });
    }
    let error: SyncError | undefined;
    try {
      const outcome = await this.publish(view, {
        changes,
        watermark,
        subject: `Sync: adopt ${counted(items.length, "change")}`,
      });
      if (outcome !== undefined) {
        report({ kind: "adopted", keys: items.length });
        return this.current;
      }
    } catch (caught) {
      error = asSyncError(caught, { store: this.settings.store, operation: "adopt" });
    }
    if (error !== undefined) {
      report({ kind: "provisional", keys: items.length, error });
      return view;
    }
    // Somebody was faster. What is pending is looked at again on top of that.
    return this.follow(await this.place.head(this.settings.runtime.now()));
  }

  private badPath(path: string): void {
    if (this.badPaths.has(path) || this.badPaths.size >= BAD_PATHS_MAX) return;
    this.badPaths.add(path);
    this.settings.report({ kind: "no-key", path });
  }
}

const NOTHING_NEW: Pick<Scanned, "watermarks"> = { watermarks: new Set() };
const NO_FAILURES: ReadonlyMap<string, SyncError> = new Map();
const EMPTY_VIEW: View = {
  commit: null,
  history: emptyHistory(),
  pending: new Map(),
  watermark: VERSION_ZERO,
  side: false,
  stamp: 0,
};
/** Before the first look. */
const NO_VIEW: View = { ...EMPTY_VIEW };

export function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}

function gone(store: string, branch: string): SyncError {
  return new Failure("NOT_FOUND", `the branch ${branch} is gone`, {
    store,
    cure: "create it again, and open the store again",
  });
}

function candidateOf(key: string, node: string): Candidate {
  return { name: recordName(key), key, records: new Set(), wasForgotten: false, node };
}
