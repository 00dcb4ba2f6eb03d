import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, test } from "vitest";
import { s3 } from "microsync/s3";
import { answersOf } from "../../src/config/answers.ts";
import { examine } from "../../src/doctor/examine.ts";
import type { Finding, StoreReport } from "../../src/doctor/finding.ts";
import { systemRuntime } from "../../src/system.ts";
import { versionClock } from "../../src/version.ts";
import { microsync } from "../cli/terminal.ts";
import { reachable } from "../servers/apt.ts";
import { etcdMissing } from "../servers/etcd-missing.ts";
import { startEtcd } from "../servers/etcd.ts";
import type { EtcdCluster } from "../servers/etcd.ts";
import { postgresServer } from "../servers/postgres.ts";
import { radosgw } from "../servers/radosgw.ts";
import { swift } from "../servers/swift.ts";
import { githubWorld } from "../stores/github/world.ts";
import { findingOf, stepsWith, words } from "./world.ts";

/** One system of each scheme, examined as a person would, by the command, and looked at by other means afterwards. */
const runtime = systemRuntime;
let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "microsync-doctor-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Told {
  readonly status: number;
  readonly result: string;
  readonly stores: readonly StoreReport[];
  readonly advice: readonly { readonly what: string }[];
  readonly err: string;
}

async function doctor(...args: string[]): Promise<Told> {
  const { status, out, err } = await microsync(folder, ["doctor", "--json", ...args], { env: {} });
  return { status, err, ...(JSON.parse(out) as Omit<Told, "status" | "err">) };
}

/** The only store's report, after everything was fine. */
function fine({ status, stores, err }: Told): StoreReport {
  const [report] = stores;
  if (report === undefined) throw new Error(err);
  expect(stepsWith(report, "failed"), words(report)).toEqual([]);
  expect(status).toBe(0);
  expect(report.left).toEqual([]);
  return report;
}

function figure(finding: Finding | undefined, name: string): number {
  return Number(finding?.figures[name]);
}

describe("doctor on stores of this machine", () => {
  it("finds memory and a folder fine, and leaves no folder behind that it made", async () => {
    expect(stepsWith(fine(await doctor("memory:")), "ok")).toHaveLength(13);
    const report = fine(await doctor("lmdb:./made/here"));
    expect(stepsWith(report, "ok")).toHaveLength(13);
    expect(figure(findingOf(report, "speed"), "writeMedianMs")).toBeGreaterThan(0);
    expect(readdirSync(folder)).toEqual([]);
  });

  it("leaves alone what is in a folder, and makes none to look only", async () => {
    const env = { MICROSYNC_CHAIN: "lmdb:./kept" };
    await microsync(folder, ["set", "k", "v"], { env });
    fine(await doctor("lmdb:./kept"));
    expect((await microsync(folder, ["list"], { env })).out).toBe("k\n");
    const looked = fine(await doctor("--read-only", "lmdb:./kept"));
    expect(looked.readonly).toBe(true);
    expect(await doctor("--read-only", "lmdb:./nowhere")).toMatchObject({ status: 1 });
    expect(readdirSync(folder)).not.toContain("nowhere");
  });

  it("gives a repository back as it was, but for some ten commits", async () => {
    const git = (...args: string[]) => execFileSync("git", ["-C", join(folder, "truth.git"), ...args]).toString();
    execFileSync("git", ["init", "--quiet", "--bare", "--initial-branch=main", join(folder, "truth.git")]);
    await microsync(folder, ["set", "k", "v"], { env: { MICROSYNC_CHAIN: "git:./truth.git" } });
    const [before, count] = [git("rev-parse", "main^{tree}"), Number(git("rev-list", "--count", "main"))];
    const report = fine(await doctor("git:./truth.git"));
    expect(git("rev-parse", "main^{tree}")).toBe(before);
    expect(Number(git("rev-list", "--count", "main")) - count).toBeLessThan(12);
    expect(findingOf(report, "cleanup")?.what).toContain("commits stay in the history");
    expect(stepsWith(report, "skipped")).toEqual(["clock", "batch", "forget"]);
  });
});

const server = await postgresServer();
describe.skipIf(server === undefined)("doctor on PostgreSQL", () => {
  afterAll(() => server?.close());

  it("compares the clocks, tries all, and leaves no row", async () => {
    const report = fine(await doctor(`${server?.url()}?create=true`));
    expect(stepsWith(report, "skipped")).toEqual([]);
    expect(Math.abs(figure(findingOf(report, "clock"), "aheadMs"))).toBeLessThan(1_000);
    expect(figure(findingOf(report, "clock"), "uncertainMs")).toBeLessThan(500);
    expect(findingOf(report, "connect")?.what).toContain("a second time");
    expect(await server?.query("SELECT count(*)::int AS rows FROM sync")).toEqual([{ rows: 0 }]);
  });

  it("tells missing rights and tables with their cure, and never a password", async () => {
    const missing = await doctor(`${server?.url()}?table=nowhere`);
    expect(missing.status).toBe(1);
    expect(missing.stores[0]?.findings[0]?.notes[0]).toMatchObject({ code: "NOT_FOUND" });
    expect(missing.stores[0]?.findings[0]?.notes[0]?.cure).toContain("create=true");
    await server?.query("CREATE ROLE reader LOGIN PASSWORD 'hunter2'");
    await server?.query("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader");
    const url = server?.url("postgres", "reader:hunter2") ?? "";
    const told = await doctor(url);
    const report = told.stores[0];
    expect(report && findingOf(report, "values")?.notes[0]).toMatchObject({ code: "UNAUTHORISED" });
    expect(report && stepsWith(report, "failed")).toEqual(["values"]);
    expect(url).toContain("hunter2");
    expect(JSON.stringify(told)).not.toContain("hunter2");
  });
});

describe.skipIf(etcdMissing !== undefined)("doctor on etcd", () => {
  let cluster: EtcdCluster;
  beforeAll(async () => {
    cluster = await startEtcd();
  });
  afterAll(() => cluster.close());

  it("says that it tells no time, tries all, and leaves no key", async () => {
    const report = fine(await doctor(`etcd://${cluster.endpoints}/app`));
    expect(stepsWith(report, "skipped")).toEqual(["clock"]);
    expect(findingOf(report, "clock")?.what).toContain("tells no time");
    expect(findingOf(report, "watch")?.what).toContain("pushed");
    expect(cluster.ctl("get", "--prefix", "--keys-only", "")).not.toContain(".doctor/");
  });

  it("notices a server that takes less than the URL says", async () => {
    const told = await doctor(`etcd://${cluster.endpoints}/large?requestBytesMax=8mb`);
    const report = told.stores[0];
    expect(report && stepsWith(report, "failed")).toEqual(["values"]);
    expect(told.status).toBe(1);
  });
});

const stations = await Promise.all([reachable(radosgw), reachable(swift)]);
for (const [i, [name, conditional]] of (
  [
    ["Ceph's radosgw", true],
    ["OpenStack Swift", false],
  ] as const
).entries()) {
  const station = stations[i];
  if (station === undefined || "missing" in station) {
    test(`doctor on ${name} is not tested: ${station?.missing}`, (context) => context.skip(station?.missing));
    continue;
  }
  const { server: gateway } = station;
  describe(`doctor on ${name}`, () => {
    afterAll(() => gateway.stop());

    it("tries all, counts requests, compares the clocks, and leaves no object", async () => {
      const options = { runtime, bucket: "examined", endpoint: gateway.url, credentials: gateway };
      await (await s3({ ...options, create: true })).close();
      const keys = `accessKeyId=${gateway.accessKeyId}&secretAccessKey=${gateway.secretAccessKey}`;
      const told = await doctor(`s3://examined/data/?endpoint=${encodeURIComponent(gateway.url)}&${keys}`);
      const report = fine(told);
      expect(stepsWith(report, "skipped")).toEqual(conditional ? [] : ["conditions"]);
      expect(stepsWith(report, "advice")).toEqual(conditional ? [] : ["abilities"]);
      expect(Math.abs(figure(findingOf(report, "clock"), "aheadMs"))).toBeLessThan(1_500);
      expect(report.requests).toBeGreaterThan(100);
      expect(JSON.stringify(told)).not.toContain(gateway.secretAccessKey);
      const look = await s3(options);
      const left: string[] = [];
      for await (const { key } of look.list({ prefix: "" }) as AsyncIterable<{ key: string }>) left.push(key);
      await look.close();
      expect(left).toEqual([]);
      const wrong = await doctor(`s3://examined/?endpoint=${gateway.url}&accessKeyId=nobody&secretAccessKey=wrong`);
      expect(wrong).toMatchObject({ status: 1, stores: [{ supports: null }] });
      expect(wrong.stores[0]?.findings[0]?.notes[0]).toMatchObject({ code: "UNAUTHORISED" });
      expect(wrong.stores[0]?.findings[0]?.notes[0]?.cure).toContain("check the access key");
    });
  });
}

describe("doctor on GitHub", () => {
  it("counts its requests, pushes seldom, and gives the branch back as it was", async () => {
    const world = await githubWorld();
    const git = (...args: string[]) => execFileSync("git", ["-C", world.bare, ...args]).toString();
    const versions = await versionClock({ runtime });
    const first = await world.open();
    const entry = { key: "k", state: "value", value: Uint8Array.of(1), expires: null, meta: {} } as const;
    await first.write([{ entry: { ...entry, version: await versions.stamp() }, asOf: 1 }]);
    const before = git("rev-parse", "main^{tree}");
    const pushes = () => Number(git("rev-list", "--count", "main"));
    const earlier = pushes();
    const open = async () => {
      const answers = answersOf();
      const store = await world.open("github:octo/store#main", { onAnswer: answers.onAnswer });
      return { store, clock: answers.clockOf(store), requests: answers.count, keepsHistory: true, undo: undefined };
    };
    const report = await examine({ store: "github:", role: "store", readonly: false, open }, { runtime, versions });
    expect(stepsWith(report, "failed"), words(report)).toEqual([]);
    expect(git("rev-parse", "main^{tree}")).toBe(before);
    expect(pushes() - earlier).toBeLessThan(12);
    expect(report.requests).toBeGreaterThan(20);
    expect(report.requests).toBeLessThan(150);
    expect(Math.abs(figure(findingOf(report, "clock"), "aheadMs"))).toBeLessThan(1_500);
    await world.close();
  });

  it("only looks by the command, and tells a bad token without it", async () => {
    const world = await githubWorld();
    const saved = process.env["GITHUB_TOKEN"];
    try {
      process.env["GITHUB_TOKEN"] = "tok_octo";
      const url = `github:octo/store#main?api=${encodeURIComponent(world.server.api)}&cacheFolder=${folder}/cache`;
      const report = fine(await doctor("--read-only", url));
      expect(report.requests).toBe(world.server.requests.length);
      expect(world.server.requests.every(({ method, path }) => method === "GET" || path === "/graphql")).toBe(true);
      process.env["GITHUB_TOKEN"] = "tok_of_nobody";
      const refused = await doctor("--read-only", url);
      expect(refused.stores[0]?.findings[0]?.notes[0]).toMatchObject({ code: "UNAUTHORISED" });
      expect(JSON.stringify(refused)).not.toContain("tok_of_nobody");
    } finally {
      if (saved === undefined) delete process.env["GITHUB_TOKEN"];
      else process.env["GITHUB_TOKEN"] = saved;
      await world.close();
    }
  });
});
