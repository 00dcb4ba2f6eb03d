import { describe, expect, it } from "vitest";
import { filesIn, importsOf, read } from "./project.ts";

interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly type: string;
  readonly engines: { readonly node: string };
  readonly exports: Readonly<Record<string, string | { readonly types: string; readonly default: string }>>;
  readonly dependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
  readonly scripts: Readonly<Record<string, string>>;
}

interface Lock {
  readonly version: string;
  readonly packages: Readonly<
    Record<string, { readonly resolved?: string; readonly integrity?: string; readonly link?: boolean }>
  >;
}

const manifest = JSON.parse(read("package.json")) as Manifest;
const lock = JSON.parse(read("package-lock.json")) as Lock;

describe("package.json", () => {
  it("names every sub-path, each with its types", () => {
    for (const [door, target] of Object.entries(manifest.exports)) {
      expect(door).not.toContain("*"); // attw does not look behind a wildcard
      if (typeof target === "string") expect(door).toBe("./package.json");
      else expect(target.types).toBe(target.default.replace(/\.js$/, ".d.ts"));
    }
  });

  it("pins what it depends on, in all its lists", () => {
    const versions = Object.entries({ ...manifest.dependencies, ...manifest.devDependencies });
    expect(versions.filter(([, version]) => !/^\d+\.\d+\.\d+$/.test(version))).toEqual([]);
  });

  // A dependency that nothing imports is weight for every user; one that is imported but not listed is a crash.
  it("depends on what src imports, and on nothing else", () => {
    const packages = filesIn("src", /\.ts$/)
      .flatMap((path) => importsOf(read(path)))
      .filter((name) => !name.startsWith(".") && !name.startsWith("node:"))
      .map((name) => /^(?:@[^/]+\/)?[^/]+/.exec(name)?.[0]);
    expect(new Set(packages)).toEqual(new Set(Object.keys(manifest.dependencies)));
  });

  it("runs nothing before or after a script, which `ignore-scripts` would leave out", () => {
    const names = Object.keys(manifest.scripts);
    expect(names.filter((name) => /^(?:pre|post)/.test(name))).toEqual([]);
    expect(read(".npmrc")).toContain("ignore-scripts=true");
  });

  it("has the language level and the types of the oldest Node it allows", () => {
    expect(manifest.engines.node).toBe(">=20.19");
    expect(manifest.devDependencies["@types/node"]).toMatch(/^20\./);
  });
});

describe("package-lock.json", () => {
  // Mutation: a lock written without the project's .npmrc.
  it("holds no address of a registry, and a checksum of everything", () => {
    const packages = Object.entries(lock.packages).filter(([path]) => path !== "");
    expect(packages.length).toBeGreaterThan(50);
    expect(packages.filter(([, { resolved }]) => resolved !== undefined)).toEqual([]);
    expect(packages.filter(([, { integrity }]) => integrity === undefined)).toEqual([]);
    expect(lock.version).toBe(manifest.version);
  });
});
