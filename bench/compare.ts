/**
 * Two revisions' hot paths by ratio, for use before one is changed: `npm run bench:compare -- REV`, with `--rounds 15` or
 * `--json`. REV is compiled in a working tree of its own, with this one's packages. The two take turns, each round in two new
 * processes, so that what else the machine does meets both.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { steps } from "../examples/start/progress.ts";
import { box, paintFor } from "../examples/start/table.ts";
import { spreadOf } from "./peers/report.ts";
import type { Spread } from "./peers/report.ts";

type Figures = Readonly<Record<string, number>>;

const CHILD = "build/bench/bench/compare/run.js";
const COMPILER = "node_modules/typescript/bin/tsc";
const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: { rounds: { type: "string", default: "9" }, json: { type: "boolean", default: false } },
});
const [revision] = positionals;
if (revision === undefined) throw new Error("usage: npm run bench:compare -- REV [--rounds N] [--json]");
const rounds = Number(flags.rounds);
const commit = git("rev-parse", "--short", `${revision}^{commit}`);

const folder = mkdtempSync(join(tmpdir(), "microsync-compare-"));
const tree = join(folder, "tree");
try {
  git("worktree", "add", "--detach", tree, commit);
  symlinkSync(resolve("node_modules"), join(tree, "node_modules"), "junction");
  execFileSync(process.execPath, [resolve(COMPILER), "-p", "tsconfig.build.json"], { cwd: tree, stdio: "inherit" });
  report(race(join(tree, "dist"), "dist"));
} finally {
  execFileSync("git", ["worktree", "remove", "--force", tree], { stdio: "ignore" });
  rmSync(folder, { recursive: true, force: true });
}

function git(...args: string[]): string {
  return execFileSync("git", args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] }).trim();
}

interface Round {
  readonly before: Figures;
  readonly after: Figures;
}

/** In every second round the other one goes first. */
function race(before: string, after: string): Round[] {
  const bars = steps(process.stderr);
  const all: Round[] = [];
  for (let round = 0; round < rounds; round++) {
    bars.show(`${commit} and this tree`, round, rounds);
    const early = figuresOf(round % 2 === 0 ? before : after);
    const late = figuresOf(round % 2 === 0 ? after : before);
    all.push(round % 2 === 0 ? { before: early, after: late } : { before: late, after: early });
  }
  bars.end();
  return all;
}

function figuresOf(dist: string): Figures {
  return JSON.parse(execFileSync(process.execPath, [CHILD, dist], { encoding: "utf8" })) as Figures;
}

interface Row {
  readonly path: string;
  /** Nanoseconds of processor time. */
  readonly before: Spread;
  readonly after: Spread;
  /** This tree's time over the revision's, within each round. */
  readonly ratio: Spread;
}

function report(all: readonly Round[]): void {
  const paths = Object.keys(all[0]?.before ?? {}).filter((path) => all[0]?.after[path] !== undefined);
  const rows = paths.map((path): Row => {
    const of = (pick: (round: Round) => Figures) => all.map((round) => pick(round)[path] ?? Number.NaN);
    const [before, after] = [of((round) => round.before), of((round) => round.after)];
    const ratios = after.map((ns, i) => ns / (before[i] ?? Number.NaN));
    return { path, before: spreadOf(before), after: spreadOf(after), ratio: spreadOf(ratios) };
  });
  if (flags.json) {
    process.stdout.write(`${JSON.stringify({ revision: commit, rounds, node: process.version, rows }, null, 2)}\n`);
    return;
  }
  const columns = [
    { title: "hot path", align: "left" },
    { title: `${commit}, ns`, align: "right" },
    { title: "this tree, ns", align: "right" },
    { title: "ratio", align: "right" },
    { title: "spread", align: "right" },
  ] as const;
  const ns = (n: number) => Math.round(n).toLocaleString("en-US");
  const cells = rows.map(({ path, before, after, ratio }) => [
    path,
    ns(before.median),
    ns(after.median),
    ratio.median.toFixed(2),
    `${ratio.from.toFixed(2)} … ${ratio.to.toFixed(2)}`,
  ]);
  const lines = [
    ...box(columns, cells, paintFor(process.stdout, process.env)),
    `${rounds} rounds on Node ${process.versions.node}: medians of processor time. Ratio: this tree's time over ${commit}'s in the`,
    "same round; below 1 is faster. Spread: the middle half of the rounds' ratios.",
  ];
  process.stdout.write(`${lines.join("\n")}\n`);
}
