import type { IncomingMessage } from "node:http";
import { execFileSync } from "node:child_process";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { SyncError } from "../../../src/error.ts";
import type { Store } from "../../../src/store.ts";
import type { Runtime } from "../../../src/runtime.ts";
import { systemRuntime } from "../../../src/system.ts";
import type { Fault } from "../../servers/github.ts";
import { keysOf, one, put, textOf, value, writes } from "../git/entries.ts";
import { githubWorld } from "./world.ts";
import type { GithubWorld } from "./world.ts";

/**
 * What goes wrong on the way to GitHub, at each place where it can, for both ways of committing. Each test ends only
 * because the store does: the server that hangs never answers.
 */
let world: GithubWorld;
beforeEach(async () => {
  world = await githubWorld();
});
afterEach(() => world.close());

const isMutation = (_: IncomingMessage, body: Buffer) => body.includes("createCommitOnBranch");
const isMove = (request: IncomingMessage) => request.method === "PATCH";
const subjects = () =>
  execFileSync("git", ["-C", world.bare, "log", "--format=%s", "main"]).toString().trim().split("\n");

/** Goes wrong for the first so many requests that match. */
function breaks(matches: (request: IncomingMessage, body: Buffer) => boolean, fault: Fault, times = 1): () => number {
  let left = times;
  world.server.fault = (request, body) => {
    if (left <= 0 || !matches(request, body)) return undefined;
    left--;
    return fault;
  };
  return () => times - left;
}

const PATIENCE_MS = 100_000_000;

/** The system's time, but for requests' own limits: those are over when the test says. */
function patient(): { runtime: Runtime; expire: () => void } {
  const limits = new Set<() => void>();
  const runtime: Runtime = {
    ...systemRuntime,
    timer(delayMs, fn, background) {
      if (delayMs < PATIENCE_MS / 2) return systemRuntime.timer(delayMs, fn, background);
      limits.add(fn);
      return { cancel: () => limits.delete(fn), hold: () => undefined };
    },
  };
  return { runtime, expire: () => limits.forEach((fn) => fn()) };
}

const failing = async (work: Promise<unknown>): Promise<SyncError> => {
  const error: unknown = await work.then(
    () => undefined,
    (caught: unknown) => caught,
  );
  if (!(error instanceof SyncError)) throw new Error(`no SyncError: ${String(error)}`);
  return error;
};

describe.each([
  ["by GraphQL", true, isMutation],
  ["by REST", false, isMove],
] as const)("a commit %s", (_, hasGraphql, isCommit) => {
  let store: Store;
  beforeEach(async () => {
    world.server.hasGraphql = hasGraphql;
    store = await world.open();
    await put(store, value("first", "0"));
  });

  // Mutation: taking a lost answer for a failure (the write fails), or sending a new commit without looking (two).
  it("whose answer is lost after it took effect is found, and counts once", async () => {
    const broken = breaks(isCommit, "lose");
    const [result] = await store.write([{ entry: value("k", "1"), asOf: 0, if: "absent" }]);
    expect(broken()).toBeGreaterThan(0);
    expect(result).toEqual({ status: "stored" });
    expect(subjects().filter((subject) => subject === 'Sync: set "k"').length).toBe(1);
    expect(await textOf(store, "k")).toBe("1");
  });

  it("that was cut before it took effect is sent again", async () => {
    breaks(isCommit, "cut");
    await put(store, value("k", "1"));
    expect(subjects().filter((subject) => subject === 'Sync: set "k"').length).toBe(1);
  });

  it("that hangs after it took effect ends by its time, and is stored", async () => {
    const { runtime, expire } = patient();
    const other = await world.open(undefined, { runtime, timeoutMs: PATIENCE_MS });
    breaks(isCommit, "hang");
    world.server.onHang = expire;
    await put(other, value("k", "1"));
    expect(subjects().filter((subject) => subject === 'Sync: set "k"').length).toBe(1);
  });

  it("that another store overtakes between decision and commit is decided again on the new head", async () => {
    const other = await world.open();
    const held: (() => Promise<void>)[] = [() => put(other, value("k", "theirs"))];
    world.server.extra = async (request, body) => {
      if (isCommit(request, body)) await held.pop()?.();
      return false;
    };
    const [result] = await store.write([{ entry: value("k", "mine"), asOf: 0, if: "absent" }]);
    expect(result?.status).toBe("conflict");
    expect(await textOf(store, "k")).toBe("theirs");
  });

  it("ends its caller's wait at the deadline, and with ABORTED at the signal, while the server hangs", async () => {
    breaks(() => true, "hang", 1_000);
    const late = await failing(store.write(writes([value("k", "1")]), { deadline: systemRuntime.monotonic() + 50 }));
    expect(late.code).toBe("TIMEOUT");
    const over = new AbortController();
    const reading = failing(store.read(["k"], { authority: true, signal: over.signal }));
    over.abort();
    expect((await reading).code).toBe("ABORTED");
    expect((await failing(store.read(["k"], { authority: true, deadline: systemRuntime.monotonic() + 50 }))).code).toBe(
      "TIMEOUT",
    );
  });

  it("survives 502 answers and a restart of the server; nothing acknowledged is lost", async () => {
    breaks(isCommit, { status: 502, body: { message: "Server Error" } });
    await put(store, value("a", "1"));
    await world.server.restart();
    await put(store, value("b", "2"));
    expect(await keysOf(store)).toEqual(["a", "b", "first"]);
  });

  it("with a revoked token is UNAUTHORISED, changes nothing, and says no secret", async () => {
    world.server.tokens.clear();
    const writing = () => store.write(writes([value("k", "secret-value")]));
    for (const call of [writing, () => store.read(["k"], { authority: true })]) {
      const error = await failing(call());
      expect(error.code).toBe("UNAUTHORISED");
      expect(JSON.stringify(error) + error.stack + String(error.cause)).not.toMatch(/tok_octo|secret-value/);
    }
    world.server.tokens.set("tok_octo", "write");
    expect((await one(store, "k")).entry).toBeUndefined();
  });
});

describe("requests and connections", () => {
  it("never are more than connectionsMax, and none stays when the store is closed", async () => {
    const store = await world.open(undefined, { connectionsMax: 3, cacheFolder: `${world.folder}/other` });
    const bytes = (i: number) => new Uint8Array([0, 255, i, i >> 8]);
    await put(store, ...Array.from({ length: 60 }, (_, i) => ({ ...value(`bin/${i}`, ""), value: bytes(i) })));
    await store.close();
    let most = 0;
    world.server.fault = () => {
      most = Math.max(most, world.server.connections());
      return undefined;
    };
    const reader = await world.open(undefined, { connectionsMax: 3, cacheFolder: `${world.folder}/third` });
    const answers = await reader.read(Array.from({ length: 60 }, (_, i) => `bin/${i}`));
    expect(answers.every(({ entry }, i) => Buffer.compare(entry?.value ?? Buffer.of(), bytes(i)) === 0)).toBe(true);
    expect(most).toBeGreaterThan(1);
    expect(most).toBeLessThanOrEqual(3);
    breaks(() => true, "hang", 1_000);
    await failing(reader.read(["x"], { authority: true, deadline: systemRuntime.monotonic() + 20 }));
    await reader.close();
    await world.server.idle();
    expect(world.server.connections()).toBe(0);
  });

  it("a value that comes with other bytes than its id says is CORRUPT, never an answer", async () => {
    const store = await world.open();
    await put(store, value("k", "right"), value("l", "right"));
    const other = await world.open(undefined, { cacheFolder: `${world.folder}/other` });
    world.server.fault = (request, body) => {
      if (/git\/blobs/.test(request.url ?? "")) return { status: 200, body: { content: "", encoding: "base64" } };
      if (body.includes("...F}")) {
        const answer = { text: "wrong", isTruncated: false };
        if (body.includes("on Blob"))
          return { status: 200, body: { data: { repository: { o0: answer, o1: answer, o2: answer, o3: answer } } } };
      }
      return undefined;
    };
    // One by itself comes by REST, two come together by GraphQL.
    for (const keys of [["k"], ["k", "l"]]) {
      const error = await failing(other.read(keys));
      expect([error.code, error.message]).toEqual(["CORRUPT", expect.stringContaining("other bytes than its id says")]);
    }
  });
});
