import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Store } from "../../../src/store.ts";
import { formatVersion } from "../../../src/version.ts";
import { systemRuntime } from "../../../src/system.ts";
import { startProxy } from "../../servers/proxy.ts";
import { mounted } from "../faults/disk.ts";
import { keysOf, one, put, textOf, told, value, versionOf, writes } from "./entries.ts";
import { gitServer } from "../../servers/git-server.ts";
import type { GitServer } from "../../servers/git-server.ts";
import type { Scratch } from "./place.ts";
import { scratch } from "./place.ts";

/** Remotes: several writers, lost answers, refused pushes, and when a mirror asks at all. */
let place: Scratch;
let server: GitServer;
let url: string;

beforeEach(async () => {
  place = scratch();
  place.run("", ["init", "--quiet", "--bare", "--initial-branch=main", "truth.git"]);
  place.run("truth.git", ["config", "http.receivepack", "true"]);
  server = await gitServer(place.folder);
  url = `git:${server.url}truth.git#main`;
});
afterEach(async () => {
  await place.remove();
  await server.close();
});

const open = (name: string, options = {}): Promise<Store> =>
  place.open(url, { cacheFolder: place.path(name), ...options });

// Mutations these catch: a push that forces, `update-ref` without the old value, a rebuilt commit that keeps the
// decisions of the old base.
describe.each(["over HTTP", "in one folder"])("two stores of one repository %s", (way) => {
  const both = () => {
    const shared = way === "over HTTP" ? url : "git:./truth.git#main";
    return Promise.all(["a", "b"].map((name) => place.open(shared, { cacheFolder: place.path(name) })));
  };

  it("lose nothing of each other when they race, and no commit is dropped", async () => {
    const rounds = 6;
    const stores = await both();
    await Promise.all(
      stores.map(async (store, n) => {
        for (let i = 0; i < rounds; i++) await put(store, value(`${n}/${i}`, "x"));
      }),
    );
    const all = [0, 1].flatMap((n) => [0, 1, 2, 3, 4, 5].map((i) => `${n}/${i}`));
    for (const store of stores) expect(await keysOf(store)).toEqual(all);
    expect(place.run("truth.git", ["rev-list", "--count", "main"])).toBe(String(2 * rounds));
  }, 60_000);

  it("raise one counter by conditional writes without losing a step", async () => {
    const stores = await both();
    const raise = async (store: Store, node: string) => {
      for (let done = 0; done < 4;) {
        const { entry } = await one(store, "n");
        const n = entry?.value == null ? 0 : Number(new TextDecoder().decode(entry.value));
        const next = value("n", String(n + 1), formatVersion(1.7e12 + n, 0, node));
        const [result] = await store.write([{ entry: next, asOf: 0, if: entry?.version ?? "absent" }]);
        if (result?.status === "stored") done++;
        else expect(result?.status).toBe("conflict");
      }
    };
    await Promise.all(stores.map((store, i) => raise(store, String(i).repeat(16))));
    for (const store of stores) expect(await textOf(store, "n")).toBe("8");
  }, 60_000);
});

describe("a mirror", () => {
  it("asks the remote only when it has to, and says how old its answers are", async () => {
    const store = await open("a", { freshMs: 3_600_000 });
    await put(store, value("k", "1"));
    const other = await open("b");
    const v2 = value("k", "2");
    await put(other, v2);
    const quiet = server.requests.length;
    const [old] = await store.read(["k"]);
    expect(new TextDecoder().decode(old?.entry?.value ?? new Uint8Array())).toBe("1");
    const [aged] = await store.read(["k"], { maxAgeMs: 3_600_000 });
    expect(aged?.asOf).toBe(old?.asOf);
    expect(server.requests.length).toBe(quiet);
    const atLeast = new Map([["k", v2.version]]);
    const [wanted] = await store.read(["k"], { atLeast });
    expect(wanted?.entry?.version).toBe(v2.version);
    expect(wanted?.asOf).toBeGreaterThanOrEqual(old?.asOf ?? Infinity);
    await put(other, value("k", "3"));
    expect(await textOf(store, "k")).toBe("3");
  });

  it("refuses by the newest state, not by its own old one", async () => {
    const store = await open("a", { freshMs: 3_600_000 });
    const first = value("k", "1");
    await put(store, first);
    const other = await open("b");
    const second = value("k", "2");
    await put(other, second);
    // To the old mirror this condition does not hold; to the remote it does.
    const [result] = await store.write([{ entry: value("k", "3"), asOf: 0, if: second.version }]);
    expect(result).toEqual({ status: "stored" });
    expect(await textOf(other, "k")).toBe("3");
  });

  // Mutation it catches: "the newest state" known by the time of the fetch, which a clock of milliseconds cannot tell.
  it("stores what it says it stored, in a batch where others are refused, though the clock stands still", async () => {
    const now = Date.now();
    const store = await open("a", { runtime: { ...systemRuntime, now: () => now } });
    const kept = value("k", "new");
    await put(store, kept);
    const results = await store.write(
      writes([value("k", "old", formatVersion(1.6e12, 0, "0".repeat(16))), value("l", "1")]),
    );
    expect(results).toEqual([{ status: "superseded", by: kept.version }, { status: "stored" }]);
    const other = await open("b");
    expect(await keysOf(other)).toEqual(["k", "l"]);
  });

  it("tells a watch what others pushed", async () => {
    const store = await open("a");
    const other = await open("b");
    await put(other, value("x", "1"));
    const first = await told(store, undefined);
    expect(first.map((change) => (change.kind === "change" ? change.key : change.kind))).toEqual(["x", "current"]);
  });
});

describe("a push whose answer is lost", () => {
  it("counts as stored when it arrived", async () => {
    const store = await open("a");
    await put(store, value("k", "1"));
    let lost = 0;
    server.lose = ({ url: path = "", method }) =>
      method === "POST" && path.endsWith("git-receive-pack") && lost++ === 0;
    await put(store, value("k", "2"));
    expect(lost).toBeGreaterThan(0);
    expect(await textOf(store, "k")).toBe("2");
    expect(place.run("truth.git", ["show", "main:k"])).toBe("2");
  });

  it("is INDETERMINATE for a conditional write while nobody can be asked, and the same write settles it", async () => {
    const store = await open("a");
    await put(store, value("k", "1"));
    const before = await versionOf(store, "k");
    let down = false;
    server.cut = () => down;
    server.lose = ({ url: path = "", method }) => (down ||= method === "POST" && path.endsWith("git-receive-pack"));
    const write = { entry: value("k", "2"), asOf: 0, if: before };
    await expect(store.write([write])).rejects.toMatchObject({ code: "INDETERMINATE" });
    server.cut = () => false;
    server.lose = () => false;
    down = false;
    expect(await store.write([write])).toEqual([{ status: "stored" }]);
    expect(place.run("truth.git", ["rev-list", "--count", "main"])).toBe("2");
  });

  it("while the remote is down, reads fail that have to ask it, and come back with it", async () => {
    const store = await open("a", { freshMs: 3_600_000 });
    await put(store, value("k", "1"));
    server.cut = () => true;
    await expect(store.read(["k"], { authority: true })).rejects.toMatchObject({ code: "UNAVAILABLE" });
    expect((await store.read(["k"]))[0]?.entry?.key).toBe("k");
    await expect(store.write(writes([value("l", "1")]))).rejects.toMatchObject({ retryable: true });
    server.cut = () => false;
    await put(store, value("l", "1"));
    expect(await keysOf(store)).toEqual(["k", "l"]);
  });
});

describe("a remote that takes no pushes", () => {
  it("is known as such at opening; persons' changes have provisional versions there", async () => {
    const writer = await open("w");
    await put(writer, value("k", "1"));
    const before = await versionOf(writer, "k");
    await writer.close();
    place.run("truth.git", ["config", "http.receivepack", "false"]);
    place.run("", ["clone", "--quiet", "truth.git", "work"]);
    writeFileSync(place.path("work/k"), "by hand");
    place.run("work", ["commit", "--quiet", "-a", "-m", "by hand"]);
    place.run("work", ["push", "--quiet"]);
    const store = await open("a");
    expect(store.supports.readonly).toBe(true);
    expect(await textOf(store, "k")).toBe("by hand");
    expect((await versionOf(store, "k")) > before).toBe(true);
    expect(await versionOf(await open("b"), "k")).toBe(await versionOf(store, "k"));
    const [result] = await store.write(writes([value("l", "1")]));
    expect(result).toMatchObject({ status: "failed", error: { code: "READONLY" } });
  });

  it("that refuses by a hook says so, and the write is not kept", async () => {
    const store = await open("a");
    await put(store, value("k", "1"));
    writeFileSync(place.path("truth.git/hooks/pre-receive"), "#!/bin/sh\necho not today >&2\nexit 1\n", {
      mode: 0o755,
    });
    await expect(store.write(writes([value("k", "2")]))).rejects.toMatchObject({ code: "READONLY" });
    expect(await textOf(store, "k")).toBe("1");
  });
});

it("keeps credentials of a URL out of names, errors, command lines and files", async () => {
  const secret = "s3cret-t0ken";
  const withSecret = url.replace("http://", `http://user:${secret}@`);
  const store = await place.open(withSecret, { cacheFolder: place.path("a") });
  await put(store, value("k", "1"));
  const commands: string[] = [];
  server.cut = () => {
    commands.push(execFileSync("ps", ["-eo", "args"]).toString());
    return true;
  };
  const error: unknown = await store.read(["k"], { authority: true }).catch((caught: unknown) => caught);
  const texts: string[] = [store.name];
  for (let at: unknown = error; at instanceof Error; at = at.cause) texts.push(at.message, at.stack ?? "");
  expect(texts.join("\n")).not.toContain(secret);
  // The helper that speaks HTTP is there when the server is asked.
  expect(commands.join("\n")).toContain("remote-http");
  expect(commands.join("\n")).not.toContain(secret);
  server.cut = () => false;
  const files = readdirSync(place.path("a"), { recursive: true, encoding: "utf8" }).map((name) =>
    place.path(`a/${name}`),
  );
  for (const file of files.filter((name) => /config$|history|HEAD$/.test(name) && existsSync(name))) {
    expect(readFileSync(file, "utf8")).not.toContain(secret);
  }
});

// Mutation: \`end\` in command.ts kills git alone. Its helper then holds the pipes as long as the server likes.
it("that hangs is given up by timeoutMs, when it is opened too, and no process and no connection is left", async () => {
  const store = await place.open(url, { cacheFolder: place.path("a"), timeoutMs: 1_000 });
  const hanging = await startProxy(server.port);
  hanging.mode("hang");
  const far = url.replace(`:${server.port}/`, `:${hanging.port}/`);
  const error: unknown = await place.open(far, { timeoutMs: 300 }).catch((caught: unknown) => caught);
  expect(error).toMatchObject({ code: "TIMEOUT", store: "git", operation: "open" });
  await hanging.idle();
  await hanging.close();
  await store.close();
});

it("that has no room for a push says so, and takes it once there is", async (context) => {
  const disk = mounted("microsync-git-full-", 24 * 1024 * 1024);
  if ("missing" in disk) return context.skip(disk.missing);
  place.run("", ["clone", "--quiet", "--bare", "truth.git", join(disk.folder, "small.git")]);
  const store = await place.open(`git:file://${join(disk.folder, "small.git")}#main`, { cacheFolder: place.path("c") });
  await put(store, value("k", "1"));
  disk.fill();
  const big = { ...value("big", ""), value: new Uint8Array(500_000).map((_, i) => (i * i) >> 3) };
  const error: unknown = await store.write(writes([big])).catch((caught: unknown) => caught);
  expect(error).toMatchObject({ code: "UNAVAILABLE", retryable: true });
  expect(await textOf(store, "k")).toBe("1");
  disk.empty();
  await put(store, big);
  await store.close();
  disk.remove();
});
