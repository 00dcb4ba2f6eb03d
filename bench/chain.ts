/**
 * Whole paths: `npm run bench:chain`, or with `-- --full --rounds 9 --keys 1000000 --json`; `--only http,paths,growth` takes
 * some of it. docs/performance.md has what it printed last.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { steps } from "../examples/start/progress.ts";
import { box, paintFor } from "../examples/start/table.ts";
import { grow } from "./chain/growth.ts";
import type { Growth } from "./chain/growth.ts";
import { httpRace } from "./chain/http.ts";
import type { HttpRound } from "./chain/http.ts";
import { walkPaths } from "./chain/paths.ts";
import type { PathFigure } from "./chain/paths.ts";
import { embedded, full } from "./chain/places.ts";
import { machine, short, spreadOf } from "./report.ts";
import type { Spread } from "./report.ts";

const PARTS = ["http", "paths", "growth"];
const CONNECTIONS = 32;
const VALUE_BYTES = 1_000;
/** How much of a bare server's rate a node reaches at least. */
const GOAL = 0.8;

const { values: flags } = parseArgs({
  options: {
    only: { type: "string" },
    full: { type: "boolean", default: false },
    rounds: { type: "string", default: "7" },
    /** Requests of one round to each server. */
    requests: { type: "string", default: "10000" },
    /** To how many keys the embedded chain grows. */
    keys: { type: "string", default: "100000" },
    json: { type: "boolean", default: false },
  },
});
const rounds = positive("rounds", flags.rounds);
const requests = positive("requests", flags.requests);
const keysMax = positive("keys", flags.keys);
const parts = flags.only?.split(",") ?? PARTS;
if (parts.some((part) => !PARTS.includes(part))) throw new Error(`--only: there are ${PARTS.join(", ")}`);
const before = machine();
const folder = mkdtempSync(join(tmpdir(), "microsync-bench-"));
const bars = steps(process.stderr);
try {
  const http = parts.includes("http") ? await overHttp() : [];
  const paths = parts.includes("paths") ? await throughChains() : [];
  const growth = parts.includes("growth") ? await growing() : [];
  bars.end();
  const after = machine();
  const report = { before, after, rounds, http, paths, growth };
  const lines = [
    `before: ${before}`,
    `after:  ${after}`,
    ...httpLines(http),
    ...pathLines(paths),
    ...growthLines(growth),
  ];
  process.stdout.write(`${flags.json ? JSON.stringify(report) : lines.join("\n")}\n`);
} finally {
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
}

function positive(name: string, text: string): number {
  const number = Number(text);
  if (Number.isInteger(number) && number > 0) return number;
  throw new Error(`--${name} is a whole number above 0`);
}

function overHttp(): Promise<readonly HttpRound[]> {
  bars.show("HTTP", 0, 1);
  return httpRace({ folder, rounds, requests, connections: CONNECTIONS, valueBytes: VALUE_BYTES });
}

async function throughChains(): Promise<readonly PathFigure[]> {
  const figures: PathFigure[] = [];
  for (const make of flags.full ? [embedded, full] : [embedded]) {
    bars.show("paths", figures.length, 1);
    const place = await make(mkdtempSync(join(folder, "chain-")));
    try {
      figures.push(...(await walkPaths(place, rounds)));
    } finally {
      await place.close();
    }
  }
  return figures;
}

function growing(): Promise<readonly Growth[]> {
  const sizes = [1_000, 10_000, 100_000, 1_000_000].filter((size) => size <= keysMax);
  return grow(mkdtempSync(join(folder, "growth-")), sizes, (done, all) => bars.show(`${all} keys`, done, all));
}

function httpLines(all: readonly HttpRound[]): string[] {
  if (all.length === 0) return [];
  const middle = ({ from, to }: Spread, text: (n: number) => string) => `${text(from)} … ${text(to)}`;
  const cell = (number: (round: HttpRound) => number, text: (n: number) => string) => {
    const spread = spreadOf(all.map(number));
    return [text(spread.median), middle(spread, text)];
  };
  const percent = (n: number) => `${(n * 100).toFixed(0)} %`;
  const ratio = spreadOf(all.map(({ serve, bare }) => serve / bare)).median;
  const rows = [
    ["microsync serve, requests/s", ...cell(({ serve }) => serve, short)],
    ["bare node:http, requests/s", ...cell(({ bare }) => bare, short)],
    [`share${ratio < GOAL ? " !" : ""}`, ...cell(({ serve, bare }) => serve / bare, percent)],
    ["microsync serve, CPU µs each", ...cell(({ serveCpuUs }) => serveCpuUs, short)],
    ["bare node:http, CPU µs each", ...cell(({ bareCpuUs }) => bareCpuUs, short)],
    ["share of CPU", ...cell(({ serveCpuUs, bareCpuUs }) => bareCpuUs / serveCpuUs, percent)],
    ["client busy", ...cell(({ client }) => client, percent)],
  ];
  const head = `GETs of a memory hit of ${VALUE_BYTES} bytes over ${CONNECTIONS} connections, ${requests} a round; "!": below ${GOAL * 100} %.`;
  return ["", head, ...box(columns(["", "median", "spread"]), rows, paintFor(process.stdout, process.env))];
}

function pathLines(figures: readonly PathFigure[]): string[] {
  if (figures.length === 0) return [];
  const rows = figures.map(({ chain, path, us, cpuUs }) => {
    return [`${chain}: ${path}`, short(us.median), `${short(us.from)} … ${short(us.to)}`, short(cpuUs)];
  });
  const table = box(columns(["path", "µs a key", "spread", "CPU µs"]), rows, paintFor(process.stdout, process.env));
  return ["", ...table];
}

function growthLines(growths: readonly Growth[]): string[] {
  if (growths.length === 0) return [];
  const rows = growths.map(({ keys, write, missToDisk, missToGit }) => {
    const costs = [write, missToDisk, missToGit].flatMap(({ us, cpuUs }) => [short(us), short(cpuUs)]);
    return [keys.toLocaleString("en-US"), ...costs];
  });
  const titles = ["keys", "write µs", "CPU", "miss to lmdb µs", "CPU", "miss to git µs", "CPU"];
  return ["", ...box(columns(titles), rows, paintFor(process.stdout, process.env))];
}

function columns(titles: readonly string[]) {
  return titles.map((title, i) => ({ title, align: i === 0 ? ("left" as const) : ("right" as const) }));
}
