import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { inParallel } from "../../src/in-parallel.ts";
import { RULES } from "./rules.ts";
import type { Rule } from "./rules.ts";
import { AT_ONCE, ROOT, buildWithout, findByChance, findWithout } from "./variants.ts";
import type { Found } from "./variants.ts";

const PAGE = join(ROOT, "docs", "testing.md");
const BEGIN = "<!-- rules: written by npm run simulate -- --table -->";
const END = "<!-- /rules -->";

/** More seeds than this are not tried for the table. */
const SEEDS_MAX = 150;

interface Row {
  readonly chance: Found | undefined;
  readonly directed: Found | undefined;
}

/** Takes out one rule after the other and writes what was found into docs/testing.md. */
export async function writeTable(): Promise<number> {
  await buildWithout(RULES);
  const found = new Map<Rule, Row>();
  await inParallel(RULES, AT_ONCE, async (rule) => {
    const chance = await findByChance(rule, Math.max(rule.seeds, SEEDS_MAX));
    const directed = rule.scenario === undefined ? undefined : await findWithout(rule);
    found.set(rule, { chance, directed });
    console.log(`${rule.name}: ${chance?.kind ?? "-"} ${chance?.seeds ?? ""}, scenario ${directed?.kind ?? "-"}`);
  });
  const rows = RULES.map((rule) => rowOf(rule, found.get(rule)));
  const head = [
    "| rule taken out | what it says | violation found | seeds needed | scenario |",
    "|---|---|---|---|---|",
  ];
  const page = readFileSync(PAGE, "utf8");
  const [from, to] = [page.indexOf(BEGIN), page.indexOf(END)];
  if (from === -1 || to === -1) throw new Error(`${PAGE} has no place for the table`);
  writeFileSync(PAGE, `${page.slice(0, from + BEGIN.length)}\n\n${[...head, ...rows].join("\n")}\n\n${page.slice(to)}`);
  return RULES.some((rule) => isMissing(rule, found.get(rule))) ? 1 : 0;
}

function isMissing({ notFound }: Rule, row: Row | undefined): boolean {
  return (row?.chance ?? row?.directed) === undefined && notFound === undefined;
}

function rowOf({ name, says, notFound, seeds, scenario }: Rule, row: Row | undefined): string {
  const { chance, directed } = row ?? {};
  const kind = (chance ?? directed)?.kind ?? `not found: ${notFound ?? "nobody knows why"}`;
  const needed = chance?.seeds ?? `more than ${Math.max(seeds, SEEDS_MAX)}`;
  return `| ${name} | ${says} | ${kind} | ${needed} | ${directed === undefined ? "" : (scenario ?? "")} |`;
}
