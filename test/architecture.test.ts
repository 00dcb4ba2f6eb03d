import { posix } from "node:path";
import { describe, expect, it } from "vitest";
import { filesIn, importsOf, read } from "./project.ts";

/**
 * The import directions of ARCHITECTURE.md, held by reading the import statements. A zone may import itself and the
 * zones listed; `stores/*` is every store, and a store is a zone of its own, so that none imports another.
 */
const VOCABULARY_UP = ["vocabulary"];
/** Pieces that several stores are made of; no stores themselves. */
const SHARED_BY_STORES = ["stores/cursor", "stores/poll", "stores/git-layout", "stores/lfs", "stores/wire"];
const PARTS = [...VOCABULARY_UP, "journal", "wrappers", "chain"];
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  vocabulary: [],
  journal: VOCABULARY_UP,
  "journal/node-files": [...VOCABULARY_UP, "journal", "journal/node-claim"],
  "journal/node-claim": [...VOCABULARY_UP, "journal", "process"],
  wrappers: VOCABULARY_UP,
  doctor: VOCABULARY_UP,
  zlib: VOCABULARY_UP,
  process: VOCABULARY_UP,
  stores: [...VOCABULARY_UP, ...SHARED_BY_STORES],
  "stores/lmdb": [...VOCABULARY_UP, ...SHARED_BY_STORES, "zlib"],
  "stores/file": [...VOCABULARY_UP, ...SHARED_BY_STORES, "process"],
  "stores/etcd": [...VOCABULARY_UP, ...SHARED_BY_STORES, "zlib"],
  "stores/s3": [...VOCABULARY_UP, ...SHARED_BY_STORES, "zlib"],
  testing: [...VOCABULARY_UP, "journal"],
  chain: [...VOCABULARY_UP, "journal", "wrappers"],
  session: PARTS,
  sync: PARTS,
  node: [...PARTS, "sync", "session"],
  "node/server": [...PARTS, "node"],
  "node/index": [...PARTS, "node", "node/server"],
  config: [...PARTS, "doctor", "journal/node-files", "zlib", "stores/*", "sync", "session", "node", "node/server"],
  index: [...PARTS, "stores/memory", "sync", "config"],
  cli: [
    ...PARTS,
    "doctor",
    "journal/node-files",
    "zlib",
    "stores/*",
    "sync",
    "session",
    "node",
    "node/server",
    "config",
    "index",
  ],
};

/** Which packages a zone may import at all. A client is imported by its own store and by nobody else. */
const MAY_USE: Readonly<Record<string, readonly string[]>> = {
  vocabulary: ["@standard-schema/spec"],
  sync: ["@standard-schema/spec"],
  "stores/lmdb": ["lmdb"],
  "stores/sql": ["pg"],
  "stores/s3": ["aws4fetch"],
  "stores/wire": ["undici"],
  "stores/etcd": ["@grpc/grpc-js"],
  node: ["hono"],
  "node/server": ["@hono/node-server"],
  cli: ["commander"],
};

/** Zones that run on Node alone; everything else is the core and stays clear of it. */
const NODE_SIDE = [
  "zlib",
  "process",
  "journal/node-files",
  "journal/node-claim",
  "config",
  "cli",
  "stores/lmdb",
  "stores/file",
  "stores/git",
  "stores/sql",
  "stores/etcd",
  "stores/s3",
  "stores/git-layout",
  "stores/github",
  "stores/lfs",
  "stores/wire",
  "stores/http",
  "node/server",
  "node/index",
];
const DOORS = ["src/index.ts", "src/session/index.ts"]; // they give what is behind them the platform's clock
/** Zones that run wherever Request and Response are, and import nothing of Node either. */
const WEB_SIDE = ["node"];
const SYSTEM = "src/system.ts"; // the platform's clock, for every platform: outside the core's compiler settings

const sources = filesIn("src", /\.ts$/);

function zoneOf(path: string): string {
  const [, first = "", second] = path.split("/");
  const name = first.replace(/\.ts$/, "");
  if (first === "journal" && second?.startsWith("node-") === true) return `journal/${second.replace(/\.ts$/, "")}`;
  if (first === "node" && (second === "server" || second === "index.ts")) return `node/${second.replace(/\.ts$/, "")}`;
  if (first === "stores" && second !== undefined) return `stores/${second.replace(/\.ts$/, "")}`;
  return name in MAY_IMPORT ? name : "vocabulary";
}

/** Undefined when `path` may import `specifier`; otherwise why not. */
function refusal(path: string, specifier: string): string | undefined {
  const zone = zoneOf(path);
  if (specifier.startsWith("node:")) {
    return NODE_SIDE.includes(zone) ? undefined : `${path}: the core imports nothing of Node (${specifier})`;
  }
  if (!specifier.startsWith(".")) {
    const used = (MAY_USE[zone] ?? []).some((name) => specifier === name || specifier.startsWith(`${name}/`));
    return used ? undefined : `${path}: ${zone} does not use the package ${specifier}`;
  }
  const target = zoneOf(posix.join(posix.dirname(path), specifier));
  if (target === zone) return undefined;
  const allowed = MAY_IMPORT[zone] ?? MAY_IMPORT[zone.split("/")[0] ?? ""] ?? [];
  const open = allowed.some((name) => name === target || (name === "stores/*" && target.startsWith("stores/")));
  return open ? undefined : `${path}: ${zone} does not import ${target} (${specifier})`;
}

describe("import directions", () => {
  // Mutation: an import against the direction in any file of src.
  it("hold in every file", () => {
    expect(sources.length).toBeGreaterThan(5);
    const found = sources.flatMap((path) => importsOf(read(path)).map((specifier) => refusal(path, specifier)));
    expect(found.filter((problem) => problem !== undefined)).toEqual([]);
  });

  it.each([
    ["src/store.ts", "./chain/chain.ts"],
    ["src/stores/memory.ts", "./lmdb.ts"],
    ["src/stores/git/index.ts", "../lmdb.ts"],
    ["src/stores/github/index.ts", "../git/index.ts"],
    ["src/chain/read.ts", "../stores/memory.ts"],
    ["src/chain/read.ts", "../sync.ts"],
    ["src/wrappers/retry.ts", "../chain/chain.ts"],
    ["src/doctor/examine.ts", "../config/open.ts"],
    ["src/sync.ts", "./config/open.ts"],
    ["src/config/open.ts", "../cli/main.ts"],
    ["src/chain/read.ts", "node:fs"],
    ["src/journal/log.ts", "./node-files.ts"],
    ["src/chain/read.ts", "lmdb"],
    ["src/config/open.ts", "commander"],
    ["src/stores/memory.ts", "../testing/index.ts"],
    ["src/index.ts", "./stores/git/index.ts"],
    ["src/node/node.ts", "node:http"],
    ["src/node/node.ts", "./server/listen.ts"],
    ["src/node/node.ts", "../stores/http.ts"],
    ["src/stores/http/feed.ts", "../../node/state.ts"],
    ["src/chain/read.ts", "hono"],
  ])("refuse %s importing %s", (path, specifier) => {
    expect(refusal(path, specifier)).toBeDefined();
  });

  it.each([
    ["src/stores/git/index.ts", "./paths.ts"],
    ["src/stores/git/index.ts", "../../store.ts"],
    ["src/stores/lmdb.ts", "lmdb"],
    ["src/config/stores.ts", "../stores/lmdb.ts"],
    ["src/config/open-http.ts", "../node/server/hops.ts"],
    ["src/stores/http/feed.ts", "../../protocol.ts"],
    ["src/node/server/listen.ts", "node:http"],
  ])("allow %s importing %s", (path, specifier) => {
    expect(refusal(path, specifier)).toBeUndefined();
  });

  it("are read from every form of import", () => {
    const source =
      'import a from "./a.ts";\nimport type { B } from "./b.ts";\nexport * from "./c.ts";\nimport "./d.ts";\n';
    const lazy = 'const e = await import("./e.ts");\n// import "./f.ts"\n/* from "./g.ts" */';
    expect(importsOf(source + lazy)).toEqual(["./a.ts", "./b.ts", "./c.ts", "./d.ts", "./e.ts"]);
  });
});

describe("the core", () => {
  // Mutation: a folder of the core added to what tsconfig.core.json leaves out, which would free it of the platform ban.
  it("is everything but the clock and what runs on Node alone", () => {
    const config = JSON.parse(read("tsconfig.core.json").replace(/^\s*\/\/.*$/gm, "")) as Record<string, unknown>;
    const zones = [...NODE_SIDE.filter((zone) => !zone.startsWith("node/")), ...WEB_SIDE];
    const outside = [SYSTEM, ...zones.map((zone) => `src/${zone}`), ...DOORS];
    const withoutEnding = (path: string) =>
      path.replace(/(?<=lmdb|file|etcd|http|zlib|process|sql|s3|journal\/node-\w+)\.ts$/, "");
    expect(config["include"]).toEqual(["types/core", "src"]);
    expect(new Set((config["exclude"] as string[]).map(withoutEnding))).toEqual(new Set(outside));
  });

  // The lint refuses Date.now; a Date of the present moment is the same clock by another door.
  it("makes no Date of the present moment", () => {
    const clock = /\bnew Date\s*(?:\(\s*\)|[^(\s\w])|(?<!new )(?<![.\w])Date\(/;
    expect(["new Date()", "new Date;", "Date()"].every((code) => clock.test(code))).toBe(true);
    expect(["new Date(ms)", "instanceof Date", "toDate(x)"].some((code) => clock.test(code))).toBe(false);
    const without = sources.filter((path) => path !== SYSTEM);
    expect(without.filter((path) => clock.test(read(path)))).toEqual([]);
  });
});
