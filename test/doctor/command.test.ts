import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { microsync } from "../cli/terminal.ts";
import type { TerminalOptions } from "../cli/terminal.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "microsync-doctor-command-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const doctor = (args: readonly string[], options: TerminalOptions = {}) =>
  microsync(folder, ["doctor", ...args], { env: {}, ...options });

const STEPS = "connect abilities clock values speed newest conditions expiry watch keys batch forget cleanup".split(
  " ",
);

it("prints a line for each check, as it goes, where nobody looks", async () => {
  const lines: string[] = [];
  const { status, out, err } = await doctor(["memory:"], { onOut: (text) => lines.push(text) });
  expect({ status, err }).toEqual({ status: 0, err: "" });
  expect(lines).toHaveLength(STEPS.length + 1);
  expect(out.split("\n").slice(0, -2)).toEqual(
    STEPS.map((step) => expect.stringMatching(new RegExp(`^memory: ${step} ok: .`)) as string),
  );
  expect(lines.at(-1)).toBe("all fine\n");
});

it("prints a table on a terminal, with progress on standard error only", async () => {
  const { status, out, err } = await doctor(["memory:"], { isTTY: true });
  expect(status).toBe(0);
  expect(out).toMatch(/^memory: as a store\ncheck {7}result {3}found\nconnect {5}ok {7}memory opened in /);
  expect(out).not.toContain("\u001b");
  expect(err).toContain("\rmemory: conditions …");
  expect(err.endsWith("\r\u001b[K")).toBe(true);
});

it("prints one document with --json, with the fields that docs/doctor.md names", async () => {
  const { status, out, err } = await doctor(["--json", "memory:"]);
  expect({ status, err }).toEqual({ status: 0, err: "" });
  expect(out.split("\n")).toHaveLength(2);
  const told = JSON.parse(out) as { stores: { findings: object[] }[] };
  expect(told).toEqual({
    result: "ok",
    interrupted: false,
    advice: [],
    stores: [
      {
        store: "memory:",
        role: "store",
        readonly: false,
        result: "ok",
        supports: expect.objectContaining({ conditional: true, watch: "push", durable: false }) as object,
        requests: null,
        left: [],
        findings: STEPS.map((step) => ({
          step,
          result: "ok",
          what: expect.any(String) as string,
          notes: [],
          figures: expect.any(Object) as object,
          tookMs: expect.any(Number) as number,
        })),
      },
    ],
  });
  expect(told.stores[0]?.findings[4]).toMatchObject({
    figures: { reads: 20, readMedianMs: expect.any(Number) as number, readWorstMs: expect.any(Number) as number },
  });
});

it("takes the stores of the chain when none is named, and speaks of their order", async () => {
  execFileSync("git", ["init", "--quiet", "--bare", "--initial-branch=main", join(folder, "truth.git")]);
  const chain = { env: { MICROSYNC_CHAIN: "git:./truth.git lmdb:./cache memory:" } };
  const { status, out } = await doctor(["--read-only"], chain);
  expect(out).toContain("memory: connect ok: ");
  expect(out).toContain("git:./truth.git abilities ok: ");
  expect(out).toContain("chain advice: memory: is the last, and so the source of truth, but forgets at a power loss (");
  // A folder is not made just to look.
  expect(out).toContain("lmdb:./cache connect failed: ");
  expect(status).toBe(1);
});

it("examines the stores that a configuration file makes, with their URLs and options", async () => {
  const file = join(folder, "own.config.json");
  writeFileSync(file, JSON.stringify({ chain: ["memory:?name=near", "lmdb:./own?readonly=true"] }));
  const { status, out } = await microsync(folder, ["--config", file, "--json", "doctor"], { env: {} });
  expect(status).toBe(0);
  expect(JSON.parse(out)).toMatchObject({
    stores: [
      { store: "memory:?name=near", role: "cache", readonly: false },
      { store: "lmdb:./own?readonly=true", role: "store", readonly: true },
    ],
  });
});

it("ends with 2 for what is wrong with the call, before anything is opened", async () => {
  for (const args of [
    ["nonsense"],
    ["redis://x"],
    ["memory:?sise=1"],
    ["memory:", "lmdb:./x?create=perhaps"],
    ["--write"],
  ]) {
    const { status, out, err } = await doctor(args);
    expect({ status, out }).toEqual({ status: 2, out: "" });
    expect(err).toMatch(/^microsync: .+\n$/);
  }
  expect(await microsync(folder, ["--timeout", "soon", "doctor", "memory:"])).toMatchObject({ status: 2 });
});

it("ends with 1 when a check failed, and says the cure", async () => {
  const { status, out } = await doctor(["git:./nowhere.git"]);
  expect(status).toBe(1);
  expect(out).toMatch(/^git:\.\/nowhere\.git connect failed: .*does not exist.*git init --bare.*\n1 check failed\n$/);
  const shown = await doctor(["git:./nowhere.git"], { isTTY: true });
  expect(shown.out).toMatch(/connect {5}failed {3}.*git init --bare/);
});

it("ends with 130 when interrupted, having removed what it wrote and told what it found", async () => {
  const control = new AbortController();
  const onOut = (text: string) => {
    if (text.includes(" newest ")) control.abort("SIGINT");
  };
  const { status, out } = await doctor(["lmdb:./interrupted"], { signal: control.signal, onOut });
  expect(status).toBe(130);
  expect(out).toContain("lmdb:./interrupted cleanup ok: nothing is left\n");
  expect(out).not.toContain(" batch ");
  const { out: told, status: again } = await doctor(["--json", "memory:"], { signal: control.signal });
  expect(again).toBe(130);
  expect(JSON.parse(told)).toMatchObject({ interrupted: true, stores: [] });
});

it("ends quietly when its reader has had enough, with nothing left", async () => {
  const place = { env: { MICROSYNC_CHAIN: "lmdb:./read" } };
  await microsync(folder, ["set", "k", "v"], place);
  const { status, err } = await doctor(["lmdb:./read"], { writesMax: 5 });
  expect({ status, err }).toEqual({ status: 0, err: "" });
  expect((await microsync(folder, ["list"], place)).out).toBe("k\n");
});

it("shows examples that it takes", async () => {
  const { out } = await microsync(folder, ["help", "doctor"]);
  expect(out).toContain("$ microsync doctor --read-only github:owner/repo#main");
  expect(out).toContain("--read-only");
});
