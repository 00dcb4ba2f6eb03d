// What a user of the package would meet: its shape by publint and attw, its doors, what opening each one loads, its
// command, and a lock file that belongs to no registry. Needs a build.
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { resolve } from "node:path";

/** What the import of a door may load of other packages; also, Node's modules that it may not load. */
const HEAVY = ["node:child_process", "node:net", "node:http", "node:https", "node:worker_threads"];
const OF_LMDB = [
  "@harperfast/extended-iterable",
  "msgpackr",
  "node-gyp-build-optional-packages",
  "ordered-binary",
  "weak-lru-cache",
];
const OF_PG = [
  "pg-connection-string",
  "pg-int8",
  "pg-pool",
  "pg-protocol",
  "pg-types",
  "pgpass",
  "postgres-array",
  "postgres-bytea",
  "postgres-date",
  "postgres-interval",
  "split2",
  "xtend",
];
/** @type {Record<string, { packages: string[], without: string[] }>} */
const DOORS = {
  ".": { packages: [], without: HEAVY },
  "./lmdb": { packages: ["lmdb", ...OF_LMDB], without: HEAVY },
  "./file": { packages: [], without: HEAVY },
  "./git": { packages: [], without: ["node:http", "node:https"] },
  "./sql": {
    packages: ["pg", ...OF_PG],
    without: ["node:child_process", "node:http", "node:https", "node:worker_threads"],
  },
  "./s3": { packages: ["aws4fetch", "undici"], without: ["node:child_process"] },
  "./github": { packages: [], without: ["node:http", "node:https", "node:child_process"] },
  "./etcd": { packages: ["@grpc/grpc-js"], without: HEAVY },
  "./session": { packages: [], without: HEAVY },
  "./http": { packages: [], without: HEAVY },
  "./node": { packages: ["hono", "@hono/node-server"], without: ["node:child_process"] },
  "./testing": { packages: [], without: HEAVY },
};

const root = resolve(import.meta.dirname, "..");
const manifest = JSON.parse(readFileSync(resolve(root, "package.json"), "utf8"));
let passed = 0;
let failed = 0;

/**
 * @param {string} name
 * @param {string | undefined} problem
 */
function check(name, problem) {
  if (problem === undefined) passed++;
  else failed++;
  console.log(problem === undefined ? `ok      ${name}` : `FAILED  ${name}\n${problem.replace(/^/gm, "        ")}`);
}

/**
 * @param {string} command
 * @param {string[]} args
 */
function run(command, ...args) {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd: root, encoding: "utf8" });
  return { ok: status === 0, stdout, output: `${stdout}${stderr}`.trim() };
}

/** @param {string} script */
const tool = (script, /** @type {string[]} */ ...args) => {
  const { ok, output } = run(process.execPath, resolve(root, "node_modules", script), ...args);
  return ok ? undefined : output;
};

const lock = readFileSync(resolve(root, "package-lock.json"), "utf8");
const addresses = lock.match(/"resolved": "(?!file:)[^"]*"/g) ?? [];
check("the lock file holds no registry address", addresses.length === 0 ? undefined : addresses.slice(0, 5).join("\n"));

check("publint", tool("publint/src/cli.js", "run", "--strict", "."));
check("attw", tool("@arethetypeswrong/cli/dist/index.js", "--profile", "esm-only", "--pack", "."));

for (const [door, target] of Object.entries(manifest.exports)) {
  if (typeof target === "string") continue;
  const rule = DOORS[door];
  const absent = Object.values(target).filter((path) => !existsSync(resolve(root, path)));
  if (rule === undefined || absent.length > 0) {
    check(`door ${door}`, rule === undefined ? "no rule in scripts/check-package.js" : `absent: ${absent.join(" ")}`);
    continue;
  }
  const specifier = `${manifest.name}${door.slice(1)}`;
  const { ok, stdout, output } = run(process.execPath, resolve(root, "scripts/loaded-modules.js"), specifier);
  if (!ok) {
    check(`door ${door}`, output);
    continue;
  }
  /** @type {{ modules: number, packages: string[], builtins: string[] }} */
  const loaded = JSON.parse(stdout);
  const strangers = loaded.packages.filter((name) => !rule.packages.includes(name));
  const heavy = loaded.builtins.filter((name) => rule.without.includes(name));
  const problem = [...strangers, ...heavy].map((name) => `loads ${name}`).join("\n");
  check(
    `door ${door} loads ${loaded.modules} modules: ${loaded.packages.join(" ") || "no package"}`,
    problem || undefined,
  );
}

for (const [name, path] of Object.entries(/** @type {Record<string, string>} */ (manifest.bin))) {
  const file = resolve(root, path);
  const text = existsSync(file) ? readFileSync(file, "utf8") : "";
  check(`${name} begins with a shebang`, text.startsWith("#!/usr/bin/env node\n") ? undefined : `${path} does not`);
  const { ok, output } = run(process.execPath, file, "--version");
  check(`${name} --version`, ok && output.includes(manifest.version) ? undefined : output);
}

console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
