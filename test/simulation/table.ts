import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { RULES } from "./rules.ts";
import type { Rule } from "./rules.ts";
import { ROOT, buildWithout, findWithout, inParallel } from "./variants.ts";
import type { Found } from "./variants.ts";

const PAGE = join(ROOT, "docs", "testing.md");
const BEGIN = "<!-- rules: written by npm run simulate -- --table -->";
const END = "<!-- /rules -->";

/** Takes out one rule after the other and writes what was found into docs/testing.md. */
export async function writeTable(): Promise<number> {
  await buildWithout(RULES);
  const found = new Map<Rule, Found | undefined>();
  await inParallel(RULES, async (rule) => {
    const first = await findWithout(rule);
    found.set(rule, first);
    const how = first === undefined ? "NOT FOUND" : `${first.kind} after ${first.runs}`;
    console.log(`${rule.name}: ${how}`);
  });
  const rows = RULES.map((rule) => row(rule, found.get(rule)));
  const table = ["| rule taken out | what it says | found as | by |", "|---|---|---|---|", ...rows].join("\n");
  const page = readFileSync(PAGE, "utf8");
  const [from, to] = [page.indexOf(BEGIN), page.indexOf(END)];
  if (from === -1 || to === -1) throw new Error(`${PAGE} has no place for the table`);
  writeFileSync(PAGE, `${page.slice(0, from + BEGIN.length)}\n\n${table}\n\n${page.slice(to)}`);
  return RULES.some((rule) => found.get(rule) === undefined && rule.notFound === undefined) ? 1 : 0;
}

function row({ name, says, notFound }: Rule, found: Found | undefined): string {
  if (found === undefined) return `| ${name} | ${says} | not found: ${notFound ?? ""} | |`;
  const by = found.scenario ?? `${found.runs} ${found.runs === 1 ? "seed" : "seeds"}`;
  return `| ${name} | ${says} | ${found.kind} | ${found.scenario === undefined ? by : `scenario ${by}`} |`;
}
