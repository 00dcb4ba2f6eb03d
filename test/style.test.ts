import { existsSync } from "node:fs";
import { posix, resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { filesIn, read, root } from "./project.ts";

/** The parts of CONTRIBUTING.md's style that a machine can hold. Each rule carries a text that it must refuse. */
const LINES_MAX = 500;

const own = "test/style.test.ts"; // it must name what it forbids
const code = ["src", "test", "examples", "bench"]
  .flatMap((folder) => filesIn(folder, /\.ts$/))
  .concat(filesIn("scripts", /\.js$/))
  .filter((path) => path !== own);
const rest = [
  "README.md",
  "ARCHITECTURE.md",
  "CONTRIBUTING.md",
  "CHANGELOG.md",
  "SECURITY.md",
  "package.json",
  ".npmrc",
];
const texts = [...code, ...rest, ...filesIn("docs", /\.(?:md|json)$/), ".oxlintrc.json", ".ci/run", "vitest.config.ts"];
const sources = code.filter((path) => path.startsWith("src/"));
const tests = code.filter((path) => path.startsWith("test/"));

const LOCKS = ["package-lock.json", "bench/peers/package-lock.json", "bench/envelope/package-lock.json"];

interface Lock {
  readonly packages: Readonly<Record<string, Needs>>;
}

interface Needs {
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

interface Rule {
  readonly name: string;
  readonly files: readonly string[];
  readonly forbids: RegExp;
  readonly refused: string;
}

const RULES: readonly Rule[] = [
  { name: "no any", files: code, forbids: /[:<,|&]\s*any\b(?!\s*[a-z])|\bas any\b/, refused: "let x: any;" },
  {
    name: "no lint or type switches in src",
    files: sources,
    forbids: /(?:oxlint|eslint)-disable|@ts-(?:ignore|nocheck|expect-error)/,
    refused: "// @ts-ignore",
  },
  { name: "nothing left to do", files: texts, forbids: /\b(?:TODO|FIXME|XXX|HACK)\b/, refused: "// TODO: later" },
  {
    name: "no path of one machine",
    files: texts,
    forbids: /(?<![\w.$}/:])\/(?:home|root|work|Users|tmp|var)\/\w/,
    refused: "read from /home/ada/data",
  },
  {
    name: "no registry address",
    files: [...texts, ...LOCKS, ...LOCKS.map((path) => path.replace("-lock", ""))],
    forbids: /registry\.\w+\.\w+|"resolved":\s*"https?:/,
    refused: '"resolved": "https://x"',
  },
  {
    name: "no focused or skipped test",
    files: tests,
    forbids: /\b(?:it|test|describe)\.(?:only|skip|todo)\b|\bx(?:it|describe)\(/,
    refused: "it.only(",
  },
  {
    name: "no sleeping test",
    files: tests,
    forbids: /setTimeout\(\s*(?:resolve|r|done|\(\)\s*=>\s*resolve)\b|timers\/promises|vi\.wait(?:For|Until)\(/,
    refused: "await new Promise((resolve) => setTimeout(resolve, 10))",
  },
];

describe("style", () => {
  it.each(RULES)("$name", ({ files, forbids, refused }) => {
    expect(forbids.test(refused)).toBe(true);
    expect(files.length).toBeGreaterThan(0);
    const found = files.flatMap((path) =>
      read(path)
        .split("\n")
        .flatMap((line, index) => (forbids.test(line) ? [`${path}:${index + 1}: ${line.trim()}`] : [])),
    );
    expect(found).toEqual([]);
  });

  it(`no file of code has more than ${LINES_MAX} lines`, () => {
    expect(code.filter((path) => read(path).split("\n").length > LINES_MAX)).toEqual([]);
  });

  it("no file of src is a drawer for anything", () => {
    const drawer = /(?:^|\/)(?:utils?|helpers?|common|misc|manager)(?:\.ts$|\/)/;
    expect(drawer.test("src/stores/utils.ts")).toBe(true);
    expect(sources.filter((path) => drawer.test(path))).toEqual([]);
  });

  // Mutation: bench/envelope without its override, where npm wrote a lock that `npm ci` refuses.
  it.each(LOCKS)("%s has all that its packages need", (lock) => {
    const { packages } = JSON.parse(read(lock)) as Lock;
    const needs = Object.entries(packages).flatMap(([at, { dependencies, optionalDependencies }]) =>
      Object.keys({ ...dependencies, ...optionalDependencies }).map((name) => ({ at, name })),
    );
    expect(needs.length).toBeGreaterThan(0);
    expect(needs.filter(({ at, name }) => !isInLock(packages, at, name))).toEqual([]);
  });

  it("every decision is in the index", () => {
    const index = read("docs/decisions/README.md");
    const pages = filesIn("docs/decisions", /\/\d{4}-[\w-]+\.md$/).map((path) => path.slice("docs/decisions/".length));
    expect(pages.length).toBeGreaterThan(0);
    expect(pages.filter((page) => !index.includes(`(${page})`))).toEqual([]);
  });

  it("every link of the documents to a file leads somewhere", () => {
    const documents = rest.filter((path) => path.endsWith(".md")).concat(filesIn("docs", /\.md$/));
    const broken = documents.flatMap((path) =>
      [...read(path).matchAll(/\]\((?!https?:|#|mailto:)([^)#\s]+)/g)]
        .map((match) => posix.join(posix.dirname(path), match[1] ?? ""))
        .filter((target) => !existsSync(resolve(root, target)))
        .map((target) => `${path}: ${target}`),
    );
    expect(broken).toEqual([]);
  });
});

/** Whether a package finds another one as Node does: beside it, or beside a folder around it. */
function isInLock(packages: Lock["packages"], at: string, name: string): boolean {
  for (let folder = at; ; folder = folder.slice(0, Math.max(0, folder.lastIndexOf("node_modules/") - 1))) {
    if (posix.join(folder, "node_modules", name) in packages) return true;
    if (folder === "") return false;
  }
}
