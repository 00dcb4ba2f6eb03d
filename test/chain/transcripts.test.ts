import { readFileSync, readdirSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { NO_META } from "../../src/entry.ts";
import type { Entry } from "../../src/entry.ts";
import { advance, begin, conclude, nextLayer } from "../../src/chain/walk.ts";
import type { Freshness, Outcome, Reply, WalkLayer } from "../../src/chain/walk.ts";
import { STAMP_MS_MIN, formatVersion, versionMs } from "../../src/version.ts";
import type { Version } from "../../src/version.ts";

/**
 * The walk's decisions as documents: each scenario in transcripts/*.txt gives the layers, the read and what every layer
 * would reply; the lines that begin with "=>" are what the walk decides, made anew here and compared with the file.
 * After a change that is meant, `vitest -u` writes them; read the difference.
 */
const FOLDER = new URL("transcripts/", import.meta.url);

for (const file of readdirSync(FOLDER)) {
  describe(file, () => {
    const text = readFileSync(new URL(file, FOLDER), "utf8");
    test("is what the walk decides", async () => {
      await expect(rendered(text)).toMatchFileSnapshot(new URL(file, FOLDER).pathname);
    });
  });
}

/** The document with every decision made anew. */
function rendered(text: string): string {
  const blocks = text.trimEnd().split("\n\n");
  return `${blocks.map((block) => (block.includes("\nread ") ? scenario(block) : block)).join("\n\n")}\n`;
}

function scenario(block: string): string {
  const lines = block.split("\n").filter((line) => line !== "" && !line.startsWith("=>"));
  const layers = wordsAfter(lines, "layers ").map(layerOf);
  const read = wordsAfter(lines, "read ");
  const replies = new Map<string, string[]>();
  for (const line of lines) {
    const [name = "", reply] = line.split(" -> ");
    if (reply !== undefined) replies.set(name.trim(), reply.split(" "));
  }
  const now = numberAfter(read, "ends") ?? numberAfter(read, "at") ?? 0;
  const floor = word(read, "floor");
  const authority = layers.findIndex(({ role }) => role === "store");
  const forgetful = read.includes("forgetful");
  let walk = begin({
    plan: { layers, authority, forgetful },
    key: "k",
    route: layers.map((_, index) => index),
    freshness: freshnessOf(read),
    startedAt: numberAfter(read, "at") ?? 0,
    suspectUntil: numberAfter(read, "suspect") ?? 0,
    floor: floor === undefined ? undefined : { version: version(floor), dead: read.includes("dead") },
    atLeast: versionOrNone(word(read, "atLeast")),
  });
  const asked: string[] = [];
  for (;;) {
    const index = nextLayer(walk);
    if (index === undefined) break;
    const name = layers[index]?.name ?? "";
    asked.push(name);
    const reply = replies.get(name);
    if (reply === undefined) throw new Error(`${lines[0]}: ${name} is asked and has no reply`);
    walk = advance(walk, replyOf(reply), now);
  }
  const decided = told(conclude(walk, now), layers);
  return [...lines, `=> asks ${asked.join(" ") || "nobody"}`, ...decided.map((line) => `=> ${line}`)].join("\n");
}

function told(outcome: Outcome, layers: readonly WalkLayer[]): string[] {
  const names = (indexes: readonly number[]) => indexes.map((index) => layers[index]?.name).join(" ");
  switch (outcome.kind) {
    case "unavailable":
      return [`UNAVAILABLE: ${outcome.reason}`];
    case "none":
      return [
        `no entry, as of ${outcome.asOf}${outcome.remember ? ", remembered" : ""}`,
        ...outcome.ghosts.map((ghost) => `drops v${number(ghost.version)} from ${names([ghost.layer])}`),
      ];
    case "entry": {
      const { entry, asOf } = outcome.copy;
      const marks = [outcome.stale ? "stale" : "", outcome.complete ? "" : "incomplete"].filter(Boolean);
      const source = names([outcome.layer]);
      return [
        `${entry.state} v${number(entry.version)} from ${source}, as of ${asOf}${marks.map((mark) => `, ${mark}`).join("")}`,
        ...(outcome.fill.length > 0 ? [`fills ${names(outcome.fill)}`] : []),
        ...(outcome.refresh ? ["refreshes in the background"] : []),
        ...outcome.ghosts.map((ghost) => `drops v${number(ghost.version)} from ${names([ghost.layer])}`),
      ];
    }
  }
}

/** `name:role:ttl[+grace][:known][:refresh]` */
function layerOf(text: string): WalkLayer {
  const [name = "", role, times = "", ...marks] = text.split(":");
  const [ttlMs, graceMs] = times.split("+").map(Number);
  if (role !== "cache" && role !== "store") throw new Error(`a layer's role is cache or store: ${text}`);
  return {
    name,
    role,
    ttlMs: ttlMs ?? 0,
    graceMs: graceMs ?? 0,
    jitter: 0,
    asOf: marks.includes("known") ? "known" : "stored",
    staleWhileRefresh: marks.includes("refresh"),
  };
}

/** `none|value|deleted|stub vN asOf N [expires N] [incomplete] [stale]`, or `fails` */
function replyOf(words: readonly string[]): Reply {
  const [kind] = words;
  if (kind === "fails") return { kind: "failed" };
  const complete = !words.includes("incomplete");
  const answer = {
    kind: "answer",
    asOf: numberAfter(words, "asOf") ?? 0,
    complete,
    stale: words.includes("stale"),
  } as const;
  if (kind === "none") return { ...answer, entry: undefined };
  if (kind !== "value" && kind !== "deleted" && kind !== "stub") throw new Error(`no reply: ${words.join(" ")}`);
  const entry: Entry = {
    key: "k",
    state: kind,
    value: kind === "value" ? new Uint8Array() : null,
    version: version(words[1] ?? ""),
    expires: numberAfter(words, "expires") ?? null,
    meta: NO_META,
  };
  return { ...answer, entry };
}

function freshnessOf(words: readonly string[]): Freshness {
  if (words[0] === "authority") return { kind: "authority" };
  if (words[0] === "maxAge") return { kind: "maxAge", ms: Number(words[1]) };
  return { kind: "cached" };
}

function wordsAfter(lines: readonly string[], start: string): string[] {
  return (
    lines
      .find((line) => line.startsWith(start))
      ?.slice(start.length)
      .split(" ") ?? []
  );
}

function word(words: readonly string[], name: string): string | undefined {
  const at = words.indexOf(name);
  return at === -1 ? undefined : words[at + 1];
}

function numberAfter(words: readonly string[], name: string): number | undefined {
  const found = word(words, name);
  return found === undefined ? undefined : Number(found);
}

function version(text: string): Version {
  const n = Number(text.slice(1));
  if (!text.startsWith("v") || !Number.isSafeInteger(n)) throw new Error(`no version: ${text}`);
  return formatVersion(STAMP_MS_MIN + n, 0, "0123456789abcdef");
}

function versionOrNone(text: string | undefined): Version | undefined {
  return text === undefined ? undefined : version(text);
}

function number(of: Version): number {
  return versionMs(of) - STAMP_MS_MIN;
}
