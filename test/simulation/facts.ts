import { isDead } from "../../src/entry.ts";
import type { Entry, Head } from "../../src/entry.ts";
import { VERSION_ZERO } from "../../src/version.ts";
import type { Version } from "../../src/version.ts";
import type { Server } from "./server.ts";

/** How far a process's clock is off at most, in milliseconds, either way. */
export const SKEW_MS = 150;
/** What two clocks differ by at most near an expiry, and what whole milliseconds add. */
export const SLACK_MS = 2 * SKEW_MS + 2;

export interface Violation {
  /** In a few words, always the same ones: what the table of rules names. */
  readonly kind: string;
  readonly what: string;
}

/** Something that a node must not go back behind. */
export interface Known {
  readonly head: Head;
  /** Simulated ms at which it learned of it. */
  readonly atMs: number;
  /** Written by itself and acknowledged. */
  readonly own: boolean;
  /** Acknowledged before it was on disk. */
  readonly fromMemory: boolean;
  /** It was told that a newer one stands in its place: then that one is what layers get, by whoever wrote it. */
  readonly superseded: boolean;
  /** On its disk: it survives a crash. */
  durable: boolean;
}

/** What is known from outside: everything that was written, acknowledged, answered, reported as undeliverable. */
export class Facts {
  readonly violations: Violation[] = [];
  /** Versions that a journal reported as not deliverable, with their bodies: never silence, but no promise either. */
  readonly reported = new Set<Version>();
  private readonly reportedNewest = new Map<string, Version>();
  /** Acknowledged by memory alone, and lost with it. */
  readonly lost = new Set<Version>();
  /** When each version was stamped, in simulated ms. */
  readonly stampedAt = new Map<Version, number>();
  private readonly contents = new Map<Version, string>();
  private readonly known = new Map<string, Known[]>();
  /** The last version that each node has stamped, over all its lives. */
  private readonly stamped = new Map<string, Version>();
  private readonly seed: number;
  private readonly nowMs: () => number;
  private readonly log: (line: string) => void;

  constructor(seed: number, nowMs: () => number, log: (line: string) => void) {
    this.seed = seed;
    this.nowMs = nowMs;
    this.log = log;
  }

  bad(kind: string, what: string): void {
    this.log(`*** ${kind}: ${what}`);
    this.violations.push({ kind, what: `seed ${this.seed}, at ${this.nowMs()} ms: ${what}` });
  }

  /** A node gave an entry its version. */
  stamp(node: string, entry: Entry): void {
    const { version } = entry;
    const before = this.stamped.get(node) ?? VERSION_ZERO;
    if (version <= before) this.bad("version went back", `${node} stamps ${version} after ${before}`);
    this.stamped.set(node, version);
    this.stampedAt.set(version, this.nowMs());
    this.content(entry);
  }

  /** A version stands for one content, wherever it is met. */
  content(entry: Entry): void {
    if (entry.state === "stub") return;
    const content = `${entry.state} ${entry.value === null ? "" : new TextDecoder().decode(entry.value)}`;
    const before = this.contents.get(entry.version);
    if (before === undefined) this.contents.set(entry.version, content);
    else if (before !== content) this.bad("content", `version ${entry.version} is "${content}" and "${before}"`);
  }

  learn(
    node: string,
    head: Head,
    parts: { readonly own: boolean; readonly durable: boolean; readonly superseded?: boolean },
  ): Known {
    const name = `${node} ${head.key}`;
    const all = this.known.get(name) ?? [];
    this.known.set(name, all);
    const known = { head, atMs: this.nowMs(), fromMemory: parts.own && !parts.durable, superseded: false, ...parts };
    all.push(known);
    return known;
  }

  /** The highest version of a key that a node must not go back behind. */
  floor(node: string, key: string, own: boolean): Known | undefined {
    let highest: Known | undefined;
    for (const known of this.known.get(`${node} ${key}`) ?? []) {
      if ((own && !known.own) || this.isExcused(known.head)) continue;
      if (highest === undefined || known.head.version > highest.head.version) highest = known;
    }
    return highest;
  }

  /** A node said aloud that what memory had acknowledged did not reach its disk. */
  gaveUp(node: string, key: string): void {
    for (const { head, own, fromMemory } of this.known.get(`${node} ${key}`) ?? []) {
      if (own && fromMemory) this.lost.add(head.version);
    }
  }

  /** It could not be delivered, and its journal says so. */
  report({ key, version }: Head): void {
    this.reported.add(version);
    if ((this.reportedNewest.get(key) ?? VERSION_ZERO) < version) this.reportedNewest.set(key, version);
  }

  /** Reported, or in the place of which something came that was; or of memory alone, and lost with it. */
  isExcused({ key, version }: Head): boolean {
    return version <= (this.reportedNewest.get(key) ?? VERSION_ZERO) || this.lost.has(version);
  }

  /** What a crash takes from a node's memory; its own durable writes stay known. @returns what only memory had. */
  crashed(node: string): Known[] {
    const inMemory: Known[] = [];
    for (const [name, all] of this.known) {
      if (!name.startsWith(`${node} `)) continue;
      this.known.set(
        name,
        all.filter((known) => known.own && known.durable),
      );
      inMemory.push(...all.filter((known) => known.own && !known.durable));
    }
    return inMemory;
  }

  /** What all nodes have acknowledged, and have on disk; with a node, what that one still has to bring to every layer. */
  *acknowledged(node = ""): Iterable<Head> {
    for (const [name, all] of this.known) {
      if (node !== "" && !name.startsWith(`${node} `)) continue;
      for (const { own, durable, superseded, head } of all) {
        const isOwed = own && durable && !(superseded && node !== "");
        if (isOwed && !this.isExcused(head)) yield head;
      }
    }
  }
}

/**
 * Whether an answer is behind a version: older, unless both give no value. `newest` is what the authority came to have
 * since: where that gave no value and was collected, nothing is all there is to answer.
 */
export function isBehind(answer: Head | undefined, head: Head | undefined, nowMs: number, newest?: Head): boolean {
  if (head === undefined || (answer?.version ?? VERSION_ZERO) >= head.version) return false;
  const isNone = answer === undefined || isDead(answer, nowMs + SLACK_MS);
  const isEnded = newest !== undefined && newest.version > head.version && isDead(newest, nowMs + SLACK_MS);
  return !(isNone && (isEnded || isDead(head, nowMs + SLACK_MS)));
}

/** Whether a store has this version or a later one, or had one of them and collected it. */
export function hasReached(server: Server, key: string, version: Version): boolean {
  if (server.versionOf(key) >= version) return true;
  return server.entryOf(key) === undefined && server.state.watermark >= version && wasThere(server, key, version);
}

function wasThere({ history }: Server, key: string, version: Version): boolean {
  return history.get(key)?.some(({ head }) => head !== undefined && head.version >= version) === true;
}
