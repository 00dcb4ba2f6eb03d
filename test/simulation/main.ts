import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { inParallel } from "../../src/in-parallel.ts";
import type { Violation } from "./facts.ts";
import { RULES } from "./rules.ts";
import { run } from "./run.ts";
import type { Run } from "./run.ts";
import { SCENARIOS } from "./scenarios.ts";
import { writeTable } from "./table.ts";
import { AT_ONCE, buildWithout, findByChance, findWithout, programWithout } from "./variants.ts";
import type { Found } from "./variants.ts";
import { TOPOLOGIES } from "./world.ts";
import type { Topology } from "./world.ts";

Error.stackTraceLimit = 0; // a stack for each failure that is planned costs more than the failure

const USAGE = `npm run simulate -- [--seeds 1000] [--from 1] [--topology full|simple|fed]
  --seed N [--trace]   one seed, with all that happens
  --off RULE           without a rule: "${RULES[0]?.name}", ...; --off list names them
  --rules              takes out one rule after the other: each has to be missed
  --table              takes out one rule after the other and writes the table of docs/testing.md`;

/** How many processes share the seeds. */
const JOBS = 2;
/** Every so many seeds one is run twice, and must go the same way. */
const TWICE = 50;

const args = process.argv.slice(2);

function option(name: string): string | undefined {
  const at = args.indexOf(`--${name}`);
  return at === -1 ? undefined : args[at + 1];
}

/** The topology of a seed, when none is asked for. */
function topologyOf(seed: number): Topology {
  const asked = TOPOLOGIES.find((topology) => topology === option("topology"));
  return asked ?? (TOPOLOGIES[seed % TOPOLOGIES.length] as Topology);
}

/** The one command that shows what happened. */
function replay({ seed, topology }: { readonly seed: number; readonly topology: string }): string {
  const off = option("off");
  return `npm run simulate -- --seed ${seed} --topology ${topology}${off === undefined ? "" : ` --off "${off}"`} --trace`;
}

async function main(): Promise<number> {
  if (args.includes("--help")) return say(USAGE, 0);
  if (args.includes("--table")) return writeTable();
  if (args.includes("--rules")) return missEachRule();
  const off = option("off");
  if (off !== undefined && option("find") === undefined) return without(off);
  if (option("find") !== undefined) return find(option("find")?.split("|") ?? []);
  if (option("seed") !== undefined) return replayOne(Number(option("seed")));
  return all(Number(option("from") ?? 1), Number(option("seeds") ?? 1000));
}

function say(text: string, code: number): number {
  console.log(text);
  return code;
}

async function replayOne(seed: number): Promise<number> {
  const trace = args.includes("--trace") ? (line: string) => console.log(line) : undefined;
  const result = await run(seed, topologyOf(seed), trace);
  report(result);
  return say(result.violations.length === 0 ? "clean" : "", result.violations.length === 0 ? 0 : 1);
}

function report(result: Run): void {
  for (const { kind, what } of result.violations.slice(0, 5)) console.log(`${result.topology}, ${kind}: ${what}`);
  if (result.violations.length > 0) console.log(`  replay: ${replay(result)}`);
}

/** Shares seeds between processes of this program. */
async function all(from: number, count: number): Promise<number> {
  const startedAt = Date.now();
  const own = option("job");
  if (own !== undefined) return share(from, count, Number(own));
  for (const { name, play } of SCENARIOS) {
    const violations = await play();
    for (const { kind, what } of violations) console.log(`scenario ${name}, ${kind}: ${what}`);
    if (violations.length > 0) return 1;
  }
  const program = fileURLToPath(import.meta.url);
  const jobs = Array.from({ length: JOBS }, async (_, job) => {
    const options = { maxBuffer: 2 ** 28 };
    const call = promisify(execFile)(process.execPath, [program, ...args, "--job", String(job)], options);
    const { stdout } = await call.catch((error: { stdout?: string; message: string }) => ({
      stdout: `${error.stdout ?? ""}${error.message.startsWith("Command failed") ? "" : error.message}`,
    }));
    return stdout;
  });
  const outputs = await Promise.all(jobs);
  let [clean, answers] = [0, 0];
  for (const line of outputs.join("\n").split("\n")) {
    const [, cleanHere, answersHere] = /^\[(\d+) clean, (\d+) answers\]$/.exec(line) ?? [];
    if (cleanHere !== undefined) [clean, answers] = [clean + Number(cleanHere), answers + Number(answersHere)];
    else if (line !== "") console.log(line);
  }
  const seconds = (Date.now() - startedAt) / 1000;
  const speed = (count / seconds).toFixed(1);
  return say(
    `${clean} of ${count} seeds clean, ${SCENARIOS.length} scenarios, ${answers} answers checked, ${speed} seeds a second`,
    clean === count ? 0 : 1,
  );
}

async function share(from: number, count: number, job: number): Promise<number> {
  let [clean, answers] = [0, 0];
  for (let seed = from + job; seed < from + count; seed += JOBS) {
    const result = await run(seed, topologyOf(seed));
    answers += result.answers;
    let isGood = result.violations.length === 0;
    report(result);
    if (seed % TWICE === 0) {
      const again = await run(seed, topologyOf(seed));
      if (again.hash !== result.hash) {
        console.log(`seed ${seed} goes another way the second time\n  replay: ${replay(result)}`);
        isGood = false;
      }
    }
    if (isGood) clean++;
  }
  return say(`[${clean} clean, ${answers} answers]`, 0);
}

/** Stops at the first violation of these kinds, and says what it was. */
async function find(kinds: readonly string[]): Promise<number> {
  const isOne = ({ kind }: Violation) => kinds.includes(kind);
  const scenario = SCENARIOS.find(({ name }) => name === option("scenario"));
  if (scenario !== undefined) {
    const violation = (await scenario.play()).find(isOne);
    return violation === undefined ? 1 : tell({ seed: 0, topology: scenario.topology, ...violation, seeds: 0 });
  }
  const topologies = option("topology");
  const count = Number(option("seeds"));
  let seeds = 0;
  for (let seed = 1; seeds < count; seed++) {
    const topology = topologyOf(seed);
    if (topologies !== undefined && topology !== topologies) continue;
    seeds++;
    const violation = (await run(seed, topology)).violations.find(isOne);
    if (violation !== undefined) return tell({ seed, topology, ...violation, seeds });
  }
  return 1;
}

function tell(found: Found): number {
  return say(JSON.stringify(found), 0);
}

/** Takes out one rule after the other; each has to be missed. */
async function missEachRule(): Promise<number> {
  const due = RULES.filter(({ notFound }) => notFound === undefined);
  await buildWithout(due);
  let missed = 0;
  await inParallel(due, AT_ONCE, async (rule) => {
    const found = await findWithout(rule);
    if (found !== undefined) missed++;
    const how =
      found === undefined
        ? "not found"
        : `${found.kind}, ${found.seeds === 0 ? rule.scenario : `in seed ${found.seeds}`}`;
    console.log(`without "${rule.name}": ${how}`);
  });
  return say(`${missed} of ${due.length} rules are missed`, missed === due.length ? 0 : 1);
}

async function without(name: string): Promise<number> {
  const rule = RULES.find((each) => each.name === name);
  if (rule === undefined) {
    for (const each of RULES) console.log(`${each.name}: ${each.says}`);
    return name === "list" ? 0 : 1;
  }
  await buildWithout([rule]);
  if (option("seed") !== undefined) {
    const rest = args.filter((_, i) => args[i] !== "--off" && args[i - 1] !== "--off");
    const call = promisify(execFile)(process.execPath, [programWithout(rule), ...rest], { maxBuffer: 2 ** 28 });
    const { stdout } = await call.catch((error: { stdout?: string }) => ({ stdout: error.stdout ?? "" }));
    return say(stdout, 1);
  }
  const seeds = option("seeds");
  const found = seeds === undefined ? await findWithout(rule) : await findByChance(rule, Number(seeds));
  if (found === undefined) return say(`without "${name}" nothing was found`, 1);
  if (found.seeds === 0) return say(`without "${name}" scenario "${rule.scenario}", ${found.kind}: ${found.what}`, 0);
  console.log(`without "${name}", in seed ${found.seeds}: ${found.kind}\n${found.what}`);
  return say(`  replay: ${replay(found)}`, 0);
}

process.exitCode = await main();
