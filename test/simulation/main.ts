Error.stackTraceLimit = 0; // a stack for each failure that is planned costs more than the failure
import { run } from "./run.ts";
import type { Topology } from "./world.ts";
import { TOPOLOGIES } from "./world.ts";

/** The topology of a seed, when none is asked for. */
export function topologyOf(seed: number): Topology {
  return TOPOLOGIES[seed % TOPOLOGIES.length] as Topology;
}

const args = process.argv.slice(2);
const option = (name: string): string | undefined => {
  const at = args.indexOf(`--${name}`);
  return at === -1 ? undefined : args[at + 1];
};
const seed = option("seed");
const count = seed === undefined ? Number(option("seeds") ?? 1000) : 1;
const from = Number(seed ?? option("from") ?? 1);
const topology = option("topology") as Topology | undefined;
const trace = args.includes("--trace") ? (line: string) => console.log(line) : undefined;
const startedAt = Date.now();
const kinds = new Map<string, number[]>();
let clean = 0;
for (let n = from; n < from + count; n++) {
  const result = await run(n, topology ?? topologyOf(n), trace);
  if (result.violations.length === 0) clean++;
  else {
    for (const kind of new Set(result.violations.map((v) => v.kind))) kinds.set(kind, [...(kinds.get(kind) ?? []), n]);
    for (const { kind, what } of result.violations.slice(0, 3)) console.log(`${result.topology} ${kind}: ${what}`);
  }
}
const seconds = (Date.now() - startedAt) / 1000;
console.log(`${clean} of ${count} clean, ${seconds.toFixed(1)} s`);
for (const [kind, seeds] of kinds) console.log(`  ${kind}: ${seeds.length} (${seeds.slice(0, 8).join(" ")})`);
