/**
 * Memory and start: `npm run bench:memory`, or with `-- --entries 10000 --rounds 9 --json`; `--only start,layers,churn`
 * takes some of it. docs/performance.md has what it printed last.
 */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { steps } from "../examples/start/progress.ts";
import { box, paintFor } from "../examples/start/table.ts";
import { churn } from "../test/memory/churn.ts";
import type { ChurnMinute } from "../test/memory/churn.ts";
import { LAYERS } from "./memory/layers.ts";
import type { LayerMemory } from "./memory/layers.ts";
import type { Started } from "./memory/start.ts";
import { machine, short, spreadOf } from "./report.ts";
import type { Spread } from "./report.ts";

const PARTS = ["start", "layers", "churn"];
const MIB = 2 ** 20;
/** Simulated minutes at whose end it is measured. */
const MINUTES = [10, 30, 60, 120, 300];

interface Door {
  readonly door: string;
  /** Milliseconds for the import. */
  readonly ms: Spread;
  readonly own: number;
  readonly packages: number;
  readonly rss: number;
  readonly heap: number;
}

const { values: flags } = parseArgs({
  options: {
    only: { type: "string" },
    rounds: { type: "string", default: "7" },
    entries: { type: "string", default: "100000" },
    json: { type: "boolean", default: false },
  },
});
const rounds = Number(flags.rounds);
const entries = Number(flags.entries);
if (!(Number.isInteger(rounds) && rounds > 0)) throw new Error("--rounds is a whole number above 0");
if (!(Number.isInteger(entries) && entries > 0)) throw new Error("--entries is a whole number above 0");
const parts = flags.only?.split(",") ?? PARTS;
if (parts.some((part) => !PARTS.includes(part))) throw new Error(`--only: there are ${PARTS.join(", ")}`);
const before = machine();
const bars = steps(process.stderr);
const doors = parts.includes("start") ? starts() : [];
const layers = parts.includes("layers") ? LAYERS.map(inLayer) : [];
if (parts.includes("churn")) bars.show("five hours of churn", 0, 1);
const minutes = parts.includes("churn") ? await churn(MINUTES) : [];
bars.end();
const report = { before, after: machine(), rounds, doors, layers, minutes };
const lines = [`before: ${before}`, `after:  ${machine()}`, ...doorLines(), ...layerLines(), ...churnLines(minutes)];
process.stdout.write(`${flags.json ? JSON.stringify(report) : lines.join("\n")}\n`);

function child(script: string, ...args: readonly string[]): unknown {
  const path = fileURLToPath(new URL(`memory/${script}.js`, import.meta.url));
  return JSON.parse(execFileSync(process.execPath, [path, ...args], { encoding: "utf8" }));
}

/** Every sub-path of the package as it is published, and a process that imports nothing. */
function starts(): readonly Door[] {
  const { exports } = JSON.parse(readFileSync("package.json", "utf8")) as {
    exports: Readonly<Record<string, string | { readonly default: string }>>;
  };
  const targets = Object.entries(exports).flatMap(([door, target]) => {
    if (typeof target === "string") return [];
    return [{ door: door.replace(/^\./, "microsync"), url: pathToFileURL(target.default).href }];
  });
  return [{ door: "nothing", url: "none" }, ...targets].map(({ door, url }, i, { length }) => {
    bars.show(`import ${door}`, i, length);
    const timed = Array.from({ length: rounds }, () => child("start", url, "time") as Started);
    const { own, packages } = child("start", url, "modules") as Started;
    const median = (of: (started: Started) => number) => spreadOf(timed.map(of)).median;
    const ms = spreadOf(timed.map((started) => started.ms));
    return { door, ms, own, packages, rss: median(({ held }) => held.rss), heap: median(({ held }) => held.heap) };
  });
}

function inLayer(name: string, index: number): LayerMemory {
  bars.show(`${name}: ${entries} entries`, index, LAYERS.length);
  return child("layers", name, String(entries)) as LayerMemory;
}

function doorLines(): string[] {
  if (doors.length === 0) return [];
  const rows = doors.map(({ door, ms, own, packages, rss, heap }) => {
    const texts = [short(ms.median), `${short(ms.from)} … ${short(ms.to)}`, String(own), String(packages)];
    return [door, ...texts, short(rss / MIB), short(heap / MIB)];
  });
  return drawn(["import", "ms", "spread", "own modules", "of packages", "RSS MiB", "heap MiB"], rows);
}

function layerLines(): string[] {
  const rows = layers.map(({ layer, entries: count, before: none, after }) => {
    const more = [after.heap - none.heap, after.external - none.external, after.rss - none.rss];
    const each = (after.heap + after.external - none.heap - none.external) / count;
    return [layer, ...more.map((bytes) => short(bytes / MIB)), short(each)];
  });
  const titles = [`${entries.toLocaleString("en-US")} entries in`, "heap MiB", "external MiB", "RSS MiB", "bytes each"];
  return rows.length === 0 ? [] : drawn(titles, rows);
}

function churnLines(all: readonly ChurnMinute[]): string[] {
  const first = all[0]?.heldBytes ?? Number.NaN;
  const rows = all.map(({ minute, heldBytes, entries: count }) => {
    return [String(minute), short(heldBytes / MIB), (heldBytes / first).toFixed(3), String(count)];
  });
  return rows.length === 0 ? [] : drawn(["minute of churn", "held MiB", "ratio", "entries"], rows);
}

function drawn(titles: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const columns = titles.map((title, i) => ({ title, align: i === 0 ? ("left" as const) : ("right" as const) }));
  return ["", ...box(columns, rows, paintFor(process.stdout, process.env))];
}
