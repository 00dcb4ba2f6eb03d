import { NO_META, isDead } from "../../src/entry.ts";
import type { Entry, Head } from "../../src/entry.ts";
import { SyncError } from "../../src/error.ts";
import type { Answer, ReadOptions, Write, WriteResult } from "../../src/store.ts";
import type { Version } from "../../src/version.ts";
import { SLACK_MS, hasReached, isBehind } from "./facts.ts";
import type { Known } from "./facts.ts";
import type { Operation, What } from "./linearizable.ts";
import { FRESH_MS, SMALL_BYTES, TTL_MS } from "./node.ts";
import type { Node, Process } from "./node.ts";
import type { World } from "./world.ts";
import { PRELOADED } from "./world.ts";

/** Plain values, read and written in every way. */
export const PLAIN = ["a", "b", "c"];
/** Written under conditions only, and so linearizable. */
export const REGISTERS = ["counter", PRELOADED];
/** Written in both ways. */
export const MIXED = "mix";
export const ALL_KEYS = [...PLAIN, ...REGISTERS, MIXED];
const BURST = 25;
const BURST_KEYS = 20;
/** Clients that use one register: two at each of at most four nodes. */
const CLIENTS = 2;
/** A floor is kept for so long after it was learned, at least. */
const FLOOR_MS = 20_000;
/** What a client may be told that is no defect. */
const EXPECTED = new Set([
  "UNAVAILABLE",
  "TIMEOUT",
  "OVERLOADED",
  "INDETERMINATE",
  "INVALID",
  "TOO_OLD",
  "UNAUTHORISED",
]);

export interface ReadKind {
  readonly kind: "cached" | "maxAge" | "authority";
  readonly maxAgeMs: number;
}

/** Programs on the nodes: what they do, what they are told, and whether that may be. */
export class Clients {
  readonly registers = new Map<string, (Operation | undefined)[]>();
  /** Of processes that still run. */
  readonly pending = new Map<object, { readonly process: Process; readonly what: string }>();
  answers = 0;
  readonly counts = new Map<string, number>();
  private readonly world: World;
  private events = 0;
  private values = 0;

  constructor(world: World) {
    this.world = world;
  }

  /** One operation of a client on a node. */
  begin(node: Node, what: string, work: (process: Process) => Promise<void>): void {
    const { process } = node;
    if (process === undefined) return;
    this.count(what);
    const ticket = {};
    this.pending.set(ticket, { process, what: `${node.name} ${what}` });
    work(process).then(
      () => this.pending.delete(ticket),
      (error: unknown) => {
        this.pending.delete(ticket);
        if (!process.life.isOver) this.world.facts.bad("threw", `${node.name} ${what}: ${String(error)}`);
      },
    );
  }

  private count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
  }

  set(node: Node, key: string): void {
    const { chance, runtime } = this.world;
    const deletes = chance.chance(key === "c" ? 0.4 : 0.2);
    const expires = !deletes && chance.chance(key === "c" ? 0.4 : 0.1) ? runtime.now() + chance.below(3_000) : null;
    const poison = key === "b" && chance.chance(0.05) ? chance.pick(["!git", "!sql"]) : "";
    const padding = chance.chance(0.1) ? "x".repeat(SMALL_BYTES) : "";
    const roll = chance.below(10);
    const ack = roll < 6 ? "journal" : roll < 7 ? "memory" : roll < 9 ? "all" : this.levelOf(node);
    const text = deletes ? null : `${node.name}${++this.values}${poison}${padding}`;
    this.begin(node, "set", async (process) => void (await this.write(node, process, { key, text, expires, ack })));
  }

  /** More at once than a journal has room for: some wait, some are refused. */
  burst(node: Node): void {
    for (let i = 0; i < BURST; i++) this.begin(node, "burst", this.setter(node, `burst${i % BURST_KEYS}`));
  }

  private setter(node: Node, key: string): (process: Process) => Promise<void> {
    return async (process) => {
      await this.write(node, process, { key, text: `${node.name}${++this.values}`, ack: "journal" });
    };
  }

  private levelOf(node: Node): string {
    return node.plan.remote === undefined ? this.world.authority.name : "remote";
  }

  async write(
    node: Node,
    process: Process,
    what: { key: string; text: string | null; expires?: number | null; ack: string },
  ): Promise<WriteResult | undefined> {
    const { facts, log } = this.world;
    const { key, text, expires = null, ack } = what;
    const entry = this.entryOf(key, text, expires, await process.clock.stamp());
    facts.stamp(node.name, entry);
    log(`${node.name} ${entry.state === "deleted" ? "delete" : `set ${text}`} ${key} ${entry.version} ack=${ack}`);
    const asOf = process.runtime.now();
    const result = await this.sent(node, process, { entry, asOf }, ack);
    log(`${node.name} wrote ${key} ${entry.version}: ${describe(result)}`);
    if (result.status === "failed") {
      if (!EXPECTED.has(result.error.code)) facts.bad("threw", `${node.name} set ${key}: ${result.error.message}`);
      return result;
    }
    if (result.status === "conflict") facts.bad("threw", `${node.name} set ${key}: a conflict without a condition`);
    if (result.status !== "stored" && result.status !== "superseded") return result;
    this.acknowledged(node, process, entry, ack, result.status === "superseded");
    return result;
  }

  private acknowledged(node: Node, process: Process, head: Head, ack: string, superseded = false): void {
    const { facts } = this.world;
    const known = facts.learn(node.name, head, { own: true, durable: ack !== "memory", superseded });
    if (ack !== "memory") return;
    void process.journal.quiet().then(() => {
      if (process.life.isOver) return;
      known.durable = true;
      node.inFlight.delete(head.version);
    });
  }

  private async sent(node: Node, process: Process, write: Write, ack: string): Promise<WriteResult> {
    const { entry } = write;
    node.inFlight.set(entry.version, entry);
    const settled = (result: WriteResult): WriteResult => {
      if (ack !== "memory" && node.process === process) node.inFlight.delete(entry.version);
      return result;
    };
    try {
      const [result] = await process.chain.write([write], { ack });
      return settled(result ?? { status: "failed", error: new SyncError("INTERNAL", "a write got no result") });
    } catch (error) {
      if (error instanceof SyncError) return settled({ status: "failed", error });
      throw error;
    }
  }

  entryOf(key: string, text: string | null, expires: number | null, version: Version): Entry {
    const value = text === null ? null : new TextEncoder().encode(text);
    return { key, state: value === null ? "deleted" : "value", value, version, expires, meta: NO_META };
  }

  get(node: Node, key: string): void {
    const { chance } = this.world;
    const kind = chance.pick(["cached", "cached", "cached", "maxAge", "authority"] as const);
    const maxAgeMs = chance.below(1_000);
    this.begin(node, `get ${kind}`, async (process) => void (await this.read(node, process, key, { kind, maxAgeMs })));
  }

  /** Reads as a program does, and checks what it is told. @returns undefined when it was told nothing. */
  async read(
    node: Node,
    process: Process,
    key: string,
    { kind, maxAgeMs }: ReadKind,
  ): Promise<Pick<Answer, "entry" | "stale"> | undefined> {
    const { world } = this;
    const { facts, runtime, log } = world;
    const floor = facts.floor(node.name, key, false);
    const boundMs = kind === "authority" ? 0 : (kind === "maxAge" ? maxAgeMs : FRESH_MS) + 2 * world.skewMs + 2;
    const startedAt = runtime.monotonic();
    const owed = world.authority.newestAt(key, startedAt - boundMs);
    // What is in its own journal, and written just now, it can always read.
    const learnedAt = floor?.atMs ?? -Infinity;
    const isRecent = startedAt - learnedAt < TTL_MS.memory / 2 && node.missedAt < learnedAt - SLACK_MS;
    // After missed changes nothing from before counts as fresh.
    const isAnswerable =
      kind === "cached" &&
      floor?.own === true &&
      isRecent &&
      !floor.fromMemory &&
      !floor.superseded &&
      isPending(process, floor.head);
    const options: ReadOptions = kind === "authority" ? { authority: true } : kind === "maxAge" ? { maxAgeMs } : {};
    let answer: Pick<Answer, "entry" | "stale" | "from">;
    try {
      const slot = kind === "cached" ? process.chain.look(key) : undefined;
      const [asked] = slot === undefined ? await process.chain.read([key], options) : [];
      answer = slot === undefined ? (asked as Answer) : { entry: slot.entry, stale: false, from: "look" };
    } catch (error) {
      log(`${node.name} get ${key} ${kind}: ${String(error)}`);
      const isExpected = error instanceof SyncError && EXPECTED.has(error.code);
      if (!isExpected) facts.bad("threw", `${node.name} get ${key}: ${String(error)}`);
      // A newer one may be known to be somewhere.
      const newer = world.newestVersion(key);
      if (isAnswerable && newer <= (floor?.head.version ?? newer))
        facts.bad("own write not read", `${node.name} get ${key}: its journal has it, and it says ${String(error)}`);
      return undefined;
    }
    this.answers++;
    const { entry, stale, from } = answer;
    const now = process.runtime.now();
    const isNone = entry === undefined || isDead(entry, now);
    const asked = kind === "maxAge" ? `maxAge ${maxAgeMs}` : kind;
    const since = `(asked at ${startedAt})`;
    const said = `${node.name} get ${key} ${asked} ${since}: ${entry === undefined ? "nothing" : `${entry.state} ${entry.version}`}${isNone ? " none" : ""}${stale ? " stale" : ""} from ${from}`;
    log(said);
    world.noteLetters();
    if (entry !== undefined) facts.content(entry);
    if (isNone && stale) facts.bad("false miss", `${said}: "none" may not be stale`);
    if (kind === "authority" && stale) facts.bad("stale", `${said}: the authority's answer may not be stale`);
    this.judge(node, said, entry, stale, floor, startedAt);
    const newest = world.authority.newestAt(key, Infinity);
    const isReported = owed !== undefined && facts.isExcused(owed);
    // Since it was written, this answer's version was not asked for again; a clock that is ahead may have hidden it.
    const isNew = entry !== undefined && (facts.stampedAt.get(entry.version) ?? 0) >= startedAt - boundMs;
    // What waits here for longer than deletions are kept is read here until a store says that it is too old.
    const isTooOld = from === "journal" && world.authority.entryOf(key) === undefined;
    if (!stale && !isReported && !isNew && !isTooOld && isBehind(entry, owed, runtime.now(), newest)) {
      const miss = isNone ? "false miss" : isDead(owed as Head, runtime.now()) ? "deleted is back" : "old as fresh";
      facts.bad(miss, `${said}: ${world.authority.name} had ${owed?.version} ${boundMs} ms before`);
    }
    if (!stale && entry !== undefined && !process.life.isOver) {
      facts.learn(node.name, entry, { own: false, durable: false });
    }
    return answer;
  }

  /** Whether an answer goes back behind what its node knew when it was asked. */
  private judge(
    node: Node,
    said: string,
    entry: Entry | undefined,
    stale: boolean,
    floor: Known | undefined,
    askedAt: number,
  ): void {
    const { authority, facts, runtime } = this.world;
    if (floor === undefined || facts.isExcused(floor.head)) return;
    if (stale && runtime.monotonic() - floor.atMs > FLOOR_MS) return;
    // What it came to have while it was asked may have been there too late.
    const cameTo = [askedAt, Infinity].map((atMs) => authority.newestAt(floor.head.key, atMs));
    if (cameTo.some((newest) => !isBehind(entry, floor.head, runtime.now(), newest))) return;
    facts.bad(floor.own ? "own write not read" : "went back", `${said}: it knew ${floor.head.version}`);
  }

  /** A conditional step of a register: reads it, changes it if nobody else did meanwhile. */
  step(node: Node, key: string): void {
    const { chance } = this.world;
    const client = `${node.name}${chance.below(CLIENTS)}`;
    const blind = chance.chance(0.2);
    const deletes = chance.chance(0.1);
    const ack = chance.chance(0.2) ? "all" : "journal";
    this.begin(node, "step", (process) => this.change(node, process, client, { key, blind, deletes, ack }));
  }

  async change(
    node: Node,
    process: Process,
    client: string,
    { key, blind, deletes, ack }: { key: string; blind: boolean; deletes: boolean; ack: string },
  ): Promise<void> {
    const called = ++this.events;
    let base: Entry | undefined;
    if (!blind) {
      const answer = await this.read(node, process, key, { kind: "authority", maxAgeMs: 0 });
      if (answer === undefined) return;
      base = answer.entry;
      if (REGISTERS.includes(key)) this.note(key, client, called, { kind: "get", got: this.valueOf(base) });
    }
    const own = this.world.facts.floor(node.name, key, true);
    const isAbsent = base === undefined || isDead(base, process.runtime.now());
    await this.swap(node, process, client, { key, base: isAbsent ? undefined : base, above: base, deletes, ack, own });
  }

  private async swap(
    node: Node,
    process: Process,
    client: string,
    step: {
      readonly key: string;
      readonly base: Entry | undefined;
      readonly above: Entry | undefined;
      readonly deletes: boolean;
      readonly ack: string;
      readonly own: Known | undefined;
    },
  ): Promise<void> {
    const { facts, log } = this.world;
    const { key, base, above, ack, own } = step;
    const text = step.deletes && base !== undefined ? null : `${node.name}${++this.values}`;
    const entry = this.entryOf(key, text, null, await process.clock.stamp(above?.version));
    facts.stamp(node.name, entry);
    const called = ++this.events;
    // Until it is answered it may have happened.
    const expected = base?.version ?? "";
    const cas: What = { kind: "cas", expected, version: this.valueOf(entry) };
    const place = REGISTERS.includes(key) ? this.note(key, client, called, cas, Infinity) : undefined;
    log(`${client} change ${key} ${entry.version} if ${base?.version ?? "absent"}`);
    const asOf = process.runtime.now();
    const result = await this.sent(node, process, { entry, asOf, if: base?.version ?? "absent" }, ack);
    log(`${client} changed ${key} ${entry.version}: ${describe(result)}`);
    const code = result.status === "failed" ? result.error.code : "";
    if (code !== "" && !EXPECTED.has(code)) facts.bad("threw", `${client} change ${key}: ${describe(result)}`);
    // In the layer that decides, though not yet in all others.
    const isLate = result.status === "failed" && result.error.stored;
    const happened = result.status === "stored" || isLate;
    if (happened) this.acknowledged(node, process, entry, "journal");
    if (happened && own !== undefined && this.isOverlooked(key, own, entry.version)) {
      const over = base?.version ?? "nothing";
      facts.bad("own write overlooked", `${client} changed ${key} over ${over}, but had written ${own.head.version}`);
    }
    if (place === undefined) return;
    const history = this.registers.get(key) ?? [];
    const returned = ++this.events;
    if (happened) history[place] = { client, called, returned, what: cas };
    else if (result.status === "conflict") {
      history[place] = { client, called, returned, what: { kind: "refused", expected } };
    } else if (code !== "INDETERMINATE") history[place] = undefined; // it came to nothing
  }

  /** Whether a conditional write was decided before the deciding layer had an own earlier write of the key. */
  private isOverlooked(key: string, own: Known, by: Version): boolean {
    const { facts, authority } = this.world;
    if (facts.isExcused(own.head)) return false;
    for (const { head } of authority.history.get(key) ?? []) {
      if (head?.version === by) return true;
      if (head !== undefined && head.version >= own.head.version) return false;
    }
    return false;
  }

  private note(key: string, client: string, called: number, what: What, returned = ++this.events): number {
    const history = this.registers.get(key) ?? [];
    this.registers.set(key, history);
    history.push({ client, called, returned, what });
    return history.length - 1;
  }

  private valueOf(entry: Entry | undefined): string {
    return entry === undefined || isDead(entry, this.world.runtime.now()) ? "" : entry.version;
  }

  flush(node: Node): void {
    this.begin(node, "flush", async (process) => {
      const { facts, log, stores } = this.world;
      const owed = [...facts.acknowledged(node.name)];
      try {
        await process.chain.flush();
      } catch (error) {
        log(`${node.name} flush: ${String(error)}`);
        if (!(error instanceof SyncError)) throw error;
        return;
      }
      log(`${node.name} flush`);
      this.world.noteLetters();
      for (const head of owed) {
        const { key, version } = head;
        if (facts.isExcused(head)) continue;
        for (const store of stores) {
          if (hasReached(store, key, version)) continue;
          const has = store.versionOf(key);
          facts.bad("untrue flush", `${node.name} flushed, but ${store.name} has ${has} of ${key}, not ${version}`);
        }
      }
    });
  }

  list(node: Node): void {
    this.begin(node, "list", async (process) => {
      const { facts, log, authority, truth, runtime } = this.world;
      const owed = ALL_KEYS.flatMap((key) => {
        const now = runtime.monotonic();
        // What a complete store above it stands for may come to it a moment later; what was always there does not.
        const heads = [key === PRELOADED ? truth : authority].map((store) => store.newestAt(key, now));
        const own = facts.floor(node.name, key, true);
        if (own?.superseded === false) heads.push(own.head);
        return heads.filter((head) => head !== undefined);
      });
      const seen = new Map<string, Head | null>();
      for await (const item of process.chain.list({ prefix: "" }, { detail: "entries" })) {
        if (item.kind === "partial") return;
        seen.set(item.key, item.head);
      }
      log(`${node.name} list ${[...seen.keys()].join(" ")}`);
      this.world.noteLetters();
      for (const head of owed) {
        if (facts.isExcused(head)) continue;
        const listed = seen.get(head.key) ?? undefined;
        // As in a read: it waits here for longer than deletions are kept.
        const isTooOld = authority.entryOf(head.key) === undefined && isPending(process, listed);
        if (isTooOld) continue;
        if (isBehind(listed, head, runtime.now(), authority.newestAt(head.key, Infinity))) {
          facts.bad("list lacks", `${node.name} lists ${listed?.version} of ${head.key}, not ${head.version}`);
        }
      }
    });
  }
}

function isPending({ journal }: Process, head: Head | undefined): boolean {
  return head !== undefined && journal.newest(head.key)?.head.version === head.version;
}

function describe(result: WriteResult): string {
  if (result.status === "failed") return `${result.error.code} ${result.error.message}`;
  if (result.status === "superseded") return `superseded by ${result.by}`;
  return result.status === "conflict" ? `conflict with ${result.current?.version ?? "nothing"}` : result.status;
}
