import { execFile } from "node:child_process";
import {
  cpSync,
  existsSync,
  linkSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { Rule } from "./rules.ts";

const run = promisify(execFile);

/** The project's folder, seen from this file or from what it is compiled to, in build/simulation or beside it. */
export const ROOT = fileURLToPath(import.meta.url).replace(
  /(?:[/\\]build[/\\]simulation(?:-off[/\\][a-z-]+)?)?[/\\]test[/\\]simulation[/\\][^/\\]+$/,
  "",
);
const BASE = join(ROOT, "build", "simulation");
const OFF = join(ROOT, "build", "simulation-off");
/** What the simulation never loads. */
const UNUSED = /(?:\/(?:cli|config|sync|git|lmdb|conformance)(?:\/|$))|\.map$/;

/** Where a program built without the rule lies. */
export function programWithout({ name }: Rule): string {
  return join(OFF, slug(name), "test", "simulation", "main.js");
}

function slug(name: string): string {
  return name.replaceAll(/[^a-z]+/g, "-");
}

/** The source with the edits made. @throws Error when a text to be replaced is not there exactly once. */
export function edited(rule: Rule, file: string): string {
  let source = readFileSync(join(ROOT, file), "utf8");
  for (const { from, to } of rule.edits.filter((edit) => edit.file === file)) {
    const parts = source.split(from);
    if (parts.length !== 2) throw new Error(`rule "${rule.name}": ${file} has ${parts.length - 1} times ${from}`);
    source = parts.join(to);
  }
  return source;
}

/** Builds the simulation once for each rule, without it. All in one run of the compiler, which only strips types. */
export async function buildWithout(rules: readonly Rule[]): Promise<void> {
  const sources: string[] = [];
  for (const rule of rules) {
    const folder = join(OFF, slug(rule.name));
    rmSync(folder, { recursive: true, force: true });
    linkAll(BASE, folder);
    for (const file of new Set(rule.edits.map((edit) => edit.file))) {
      const source = join(folder, file);
      writeFileSync(source, edited(rule, file));
      const compiled = source.replace(/\.ts$/, ".js");
      if (existsSync(compiled)) unlinkSync(compiled); // it is the same file as the one that is right
      sources.push(source);
    }
  }
  const options = {
    target: "es2023",
    module: "nodenext",
    rewriteRelativeImportExtensions: true,
    verbatimModuleSyntax: true,
    noCheck: true,
    noResolve: true,
    types: [],
    rootDir: ".",
    outDir: ".",
  };
  const config = join(OFF, "tsconfig.json");
  writeFileSync(config, JSON.stringify({ compilerOptions: options, files: sources }));
  await run(process.execPath, [join(ROOT, "node_modules", "typescript", "bin", "tsc"), "-p", config]);
}

function linkAll(from: string, to: string): void {
  mkdirSync(to, { recursive: true });
  for (const entry of readdirSync(from, { withFileTypes: true })) {
    const source = join(from, entry.name);
    if (UNUSED.test(source.slice(BASE.length))) continue;
    if (entry.isDirectory()) linkAll(source, join(to, entry.name));
    else linkOrCopy(source, join(to, entry.name));
  }
}

function linkOrCopy(source: string, target: string): void {
  try {
    linkSync(source, target);
  } catch {
    mkdirSync(dirname(target), { recursive: true });
    cpSync(source, target);
  }
}

/** What was found, first of all, without a rule. */
export interface Found {
  readonly seed: number;
  readonly topology: string;
  readonly kind: string;
  readonly what: string;
  /** How many seeds it took; 0: a scenario found it. */
  readonly seeds: number;
}

/** A program that does not end, as one without a rule may not, is ended. */
const PATIENCE_MS = 300_000;

/** Runs the program without a rule until it finds that: by its scenario if it has one, else by chance. */
export function findWithout(rule: Rule): Promise<Found | undefined> {
  return rule.scenario === undefined ? findByChance(rule) : ask(rule, ["--scenario", rule.scenario]);
}

export function findByChance(rule: Rule, seeds = rule.seeds): Promise<Found | undefined> {
  const where = rule.topology === undefined ? [] : ["--topology", rule.topology];
  return ask(rule, ["--seeds", String(seeds), ...where]);
}

async function ask(rule: Rule, how: readonly string[]): Promise<Found | undefined> {
  const args = [programWithout(rule), "--find", rule.finds.join("|"), ...how];
  const { stdout } = await run(process.execPath, args, { timeout: PATIENCE_MS, maxBuffer: 2 ** 26 }).catch(
    (error: { stdout?: string }) => ({ stdout: error.stdout ?? "" }),
  );
  const line = stdout.split("\n").find((text) => text.startsWith("{"));
  return line === undefined ? undefined : (JSON.parse(line) as Found);
}

/** How many variants are tried at a time. */
export const AT_ONCE = Math.max(2, availableParallelism());
