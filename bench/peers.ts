/**
 * Sync beside its peers, in one run: `npm run bench`, or with `-- --rounds 9 --only sync,layered-loader --json --svg FILE`.
 * docs/performance.md says what is measured and has what it printed last.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { cpus, loadavg } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { steps } from "../examples/start/progress.ts";
import type { Answers } from "./peers/answers.ts";
import type { Candidate } from "./peers/candidate.ts";
import { CANDIDATES } from "./peers/candidates.ts";
import { MEASURES, SETTINGS } from "./peers/measures.ts";
import type { Figures } from "./peers/measures.ts";
import { plot } from "./peers/plot.ts";
import { answersTable, measureTable } from "./peers/report.ts";
import type { Entrant } from "./peers/report.ts";

const PEERS = "bench/peers";
const CHILD = "build/bench/bench/peers/run.js";
/** The newer Node; the older is the one that runs this. */
const NEWER = "24.21.0";
/** How long one candidate may take in one round, in milliseconds. */
const CHILD_MS_MAX = 120_000;

const { values: flags } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    node: { type: "string", default: "both" },
    only: { type: "string" },
    json: { type: "boolean", default: false },
    svg: { type: "string" },
  },
});
const rounds = Number(flags.rounds);
if (!(Number.isInteger(rounds) && rounds > 0)) throw new Error("--rounds is a whole number above 0");
const wanted = flags.only?.split(",");
const candidates = CANDIDATES.filter(({ name }) => wanted === undefined || wanted.includes(name));
if (candidates.length === 0) throw new Error(`--only: there are ${CANDIDATES.map(({ name }) => name).join(", ")}`);

install();
const nodes = nodesFor(flags.node);
const before = machine();
const results = nodes.map((node) => ({ ...node, entrants: race(node) }));
const after = machine();
const last = results.at(-1);
if (flags.svg !== undefined && last !== undefined) {
  writeFileSync(flags.svg, plot(last.entrants, `Node ${last.version}, ${rounds} rounds, ${after}`));
}
process.stdout.write(flags.json ? json() : `${lines().join("\n")}\n`);

interface Node {
  readonly version: string;
  readonly path: string;
}

/** Puts the peers beside their lock, once. */
function install(): void {
  if (existsSync(join(PEERS, "node_modules"))) return;
  // Some peers need a newer Node than this one, on which they are left out; `npm run` hands the project's own rule on.
  execFileSync("npm", ["ci", "--engine-strict=false"], {
    cwd: PEERS,
    stdio: ["ignore", "ignore", "inherit"],
    shell: process.platform === "win32",
  });
}

function nodesFor(which: string): Node[] {
  const mine = { version: process.versions.node, path: process.execPath };
  if (which !== "both" && which !== "24" && which !== "own") throw new Error("--node is own, 24 or both");
  if (which === "own") return [mine];
  const said = execFileSync(process.execPath, ["scripts/on-node.js", NEWER, "-p", "process.execPath"], {
    encoding: "utf8",
  });
  const newer = { version: NEWER, path: said.trim().split("\n").at(-1) ?? "" };
  return which === "24" || mine.version === NEWER ? [newer] : [mine, newer];
}

/** Every candidate in a process of its own in each round, one after the other. */
function race({ version, path }: Node): Entrant[] {
  const bars = steps(process.stderr);
  const allowed = candidates.filter(({ nodeMin }) => Number(version.split(".")[0]) >= nodeMin);
  const ofAll = new Map<Candidate, Figures[]>(allowed.map((candidate) => [candidate, []]));
  const measured = allowed.filter(({ unmeasured }) => unmeasured !== true);
  for (let round = 0; round < rounds; round++) {
    for (const [i, candidate] of measured.entries()) {
      bars.show(`Node ${version}`, round * measured.length + i, rounds * measured.length);
      ofAll.get(candidate)?.push(run(path, candidate, "measure") as Figures);
    }
  }
  bars.end();
  return allowed.map((candidate) => ({
    candidate,
    version: versionOf(candidate),
    rounds: ofAll.get(candidate) ?? [],
    answers: run(path, candidate, "answers") as Answers,
  }));
}

function run(node: string, { name }: Candidate, what: "measure" | "answers"): unknown {
  const { stdout, status, stderr, signal } = spawnSync(node, [CHILD, name, what], {
    encoding: "utf8",
    timeout: CHILD_MS_MAX,
    killSignal: "SIGKILL",
  });
  if (status !== 0) throw new Error(`${name} did not ${what}: ${signal ?? stderr.slice(-2_000)}`);
  return JSON.parse(stdout);
}

function versionOf({ package: name }: Candidate): string {
  const path = name === "" ? "package.json" : join(PEERS, "node_modules", name, "package.json");
  return (JSON.parse(readFileSync(path, "utf8")) as { version: string }).version;
}

function machine(): string {
  const load = loadavg().map((n) => n.toFixed(1));
  return `${cpus().length} cores (${cpus()[0]?.model.trim() ?? "?"}), load ${load.join(" ")}`;
}

function lines(): string[] {
  const { keys, entriesMax, ttlMs } = SETTINGS;
  return [
    `before: ${before}`,
    `after:  ${after}`,
    `${rounds} rounds; ${keys} keys of a small object, memory for ${entriesMax} entries, fresh for ${ttlMs} ms; the second`,
    "layer is a Map that answers in the next turn of the event loop. Times are of one operation: medians of the rounds,",
    "and their middle half. Limit: the same by hand in the same process, a Map and the second layer called directly.",
    ...results.flatMap(({ version, entrants }) => [
      "",
      `Node ${version}: ${entrants.map(({ candidate, version: its }) => `${candidate.name} ${its}`).join(", ")}`,
      ...MEASURES.flatMap((measure) => measureTable(measure, entrants)),
      ...answersTable(entrants),
    ]),
  ];
}

function json(): string {
  const of = ({ candidate, version, rounds: figures, answers }: Entrant) => {
    const { name, layers, ack } = candidate;
    return { name, version, layers, ack, rounds: figures, answers };
  };
  const nodesOf = results.map(({ version, entrants }) => ({ node: version, entrants: entrants.map(of) }));
  return `${JSON.stringify({ before, after, rounds, settings: SETTINGS, nodes: nodesOf }, null, 2)}\n`;
}
