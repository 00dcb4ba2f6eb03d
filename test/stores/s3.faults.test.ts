import { afterAll, afterEach, beforeEach, describe, expect, it, test } from "vitest";
import { budget } from "../../src/budget.ts";
import type { Runtime } from "../../src/runtime.ts";
import type { Store } from "../../src/store.ts";
import { s3 } from "../../src/stores/s3.ts";
import type { S3Options, S3Store } from "../../src/stores/s3.ts";
import { systemRuntime } from "../../src/system.ts";
import { reachable } from "../servers/apt.ts";
import { proxy } from "../servers/http-proxy.ts";
import type { Fate, Passing, Proxy } from "../servers/http-proxy.ts";
import { radosgw } from "../servers/radosgw.ts";
import { all, failure, held, text, value, version, write } from "./s3/world.ts";

const ceph = await reachable(radosgw);
const QUICK_MS_MAX = 25_000;

/** Waiting before a repetition takes a millisecond; the time that an answer may take stays. */
function impatient(waits: number[]): Runtime {
  return {
    ...systemRuntime,
    timer(delayMs, fn, background) {
      if (delayMs > QUICK_MS_MAX) return systemRuntime.timer(delayMs, fn, background);
      waits.push(delayMs);
      return systemRuntime.timer(Math.min(delayMs, 1), fn, background);
    },
  };
}

if ("missing" in ceph) {
  test(`faults on radosgw are not tested: ${ceph.missing}`, (context) => context.skip(ceph.missing));
} else {
  const { server } = ceph;
  afterAll(() => server.stop());
  let buckets = 0;
  let between: Proxy;
  const stores: Store[] = [];
  beforeEach(async () => {
    between = await proxy(server.url);
  });
  afterEach(async () => {
    between.fates(() => "pass");
    for (const store of stores.splice(0)) await store.close();
    await between.close();
  });

  const waits: number[] = [];
  const optionsOf = (more: Partial<S3Options> = {}): S3Options => ({
    runtime: impatient(waits),
    bucket: `faults-${buckets++}`,
    endpoint: between.url,
    credentials: server,
    create: true,
    concurrency: 8,
    ...more,
  });
  const open = async (more?: Partial<S3Options>): Promise<S3Store> => {
    const store = await s3(optionsOf(more));
    stores.push(store);
    return store;
  };
  /** The fate of the first requests that fit; then all pass. */
  const first = (count: number, fits: (passing: Passing) => boolean, fate: Fate) => {
    let left = count;
    between.fates((passing) => (fits(passing) && left-- > 0 ? fate : "pass"));
  };
  const isPut = ({ method, path }: Passing) => method === "PUT" && !path.includes("!sync");

  describe("a connection that is reset", () => {
    // Mutation: `repeated` throws the first failure.
    it("in the middle of a batch costs a repetition, and nothing is lost", async () => {
      const store = await open();
      const met = new Set<string>();
      between.fates((passing) => {
        if (!isPut(passing) || met.has(passing.path)) return "pass";
        return met.add(passing.path).size % 3 === 0 ? "reset" : "pass"; // no object twice: repetitions come in any order
      });
      const entries = Array.from({ length: 30 }, (_, i) => value(`k${i}`, version(i), `value ${i}`));
      const results = await store.write(entries.map((entry) => ({ entry, asOf: 0 })));
      expect(results.every(({ status }) => status === "stored")).toBe(true);
      const answers = await store.read(entries.map(({ key }) => key));
      expect(answers.map(({ entry }) => text(entry))).toEqual(entries.map(text));
    });

    // Mutation: a failed write is told as stored, or fails the whole call.
    it("again and again fails those writes alone, by name, and each acknowledged one is there", async () => {
      const store = await open({ attempts: 2 });
      between.fates((passing) => (isPut(passing) && /k\d*[05]$/.test(passing.path) ? "reset" : "pass"));
      const entries = Array.from({ length: 20 }, (_, i) => value(`k${i}`, version(i), `value ${i}`));
      const results = await store.write(entries.map((entry) => ({ entry, asOf: 0 })));
      between.fates(() => "pass");
      const answers = await store.read(entries.map(({ key }) => key));
      for (const [i, result] of results.entries()) {
        expect(result.status).toBe(i % 5 === 0 ? "failed" : "stored");
        if (result.status === "failed")
          expect(result.error).toMatchObject({ code: "UNAVAILABLE", key: `k${i}`, store: "s3" });
        else expect(text(answers[i]?.entry)).toBe(`value ${i}`);
      }
    });

    it("in the middle of an answer costs a repetition", async () => {
      const store = await open();
      const bytes = new Uint8Array(300_000).map((_, i) => i % 251);
      await write(store, value("k", version(1), bytes));
      first(2, ({ method }) => method === "GET", "cut");
      expect((await held(store, "k"))?.value).toEqual(bytes);
    });
  });

  // Mutation: 409 left out of NOT_MET in bucket.ts. AWS says so of an object that others are writing; Ceph never does.
  it("a conditional write that conflicts with one under way is decided again", async () => {
    const store = await open();
    first(1, isPut, { status: 409, body: "<Error><Code>ConditionalRequestConflict</Code></Error>" });
    expect(await write(store, value("k", version(1), "x"), "absent")).toEqual({ status: "stored" });
    expect(text(await held(store, "k"))).toBe("x");
  });

  // Mutation: `extend` not called: a large value on a slow line would be given up in the middle, again and again.
  it("an answer has the more time the larger it is", async () => {
    const delays: number[] = [];
    const timer: Runtime["timer"] = (delayMs, fn, background) => {
      delays.push(delayMs);
      return systemRuntime.timer(delayMs, fn, background);
    };
    const store = await open({ runtime: { ...systemRuntime, timer }, timeoutMs: 30_000 });
    await write(store, value("k", version(1), new Uint8Array(640_000)));
    delays.length = 0;
    await held(store, "k");
    expect(delays).toEqual([30_000, 40_000]);
    const [answer] = await store.read(["k"], { wholeBytesMax: 0 });
    delays.length = 0;
    await all(answer?.body?.content() ?? []);
    expect(delays).toEqual([30_000, 40_000]);
  });

  describe("an answer that is lost after the effect", () => {
    // Mutation: a refused repetition is told as a conflict, or as superseded.
    it("is found out: the write is stored, once", async () => {
      const store = await open();
      first(1, isPut, "lose");
      expect(await write(store, value("k", version(1), "one"), "absent")).toEqual({ status: "stored" });
      first(1, isPut, "lose");
      expect(await write(store, value("k", version(2), "two"), version(1))).toEqual({ status: "stored" });
      expect(text(await held(store, "k"))).toBe("two");
    });

    it("of a conditional write, when nobody can be asked, is INDETERMINATE, and the same write decides it", async () => {
      const store = await open({ attempts: 1 });
      first(1, isPut, "lose");
      const entry = value("k", version(1), "one");
      expect(await write(store, entry, "absent")).toMatchObject({ status: "failed", error: { code: "INDETERMINATE" } });
      expect(await write(store, entry, "absent")).toEqual({ status: "stored" });
    });
  });

  describe("a server that never answers", () => {
    // Mutation: `attempt` does not listen to the call; every verb hangs then.
    it("holds no verb beyond its deadline, and none that was given up", async () => {
      const store = await open({ runtime: systemRuntime });
      between.fates(() => "hang");
      const verbs: [string, (options: { deadline?: number; signal?: AbortSignal }) => Promise<unknown>][] = [
        ["read", (options) => store.read(["a", "b"], options)],
        ["write", (options) => store.write([{ entry: value("k", version(1), "x"), asOf: 0 }], options)],
        ["forget", (options) => store.forget([{ key: "k", version: version(1), reason: "ghost" }], options)],
        ["list", async (options) => all(store.list({ prefix: "" }, options))],
        ["watch", async (options) => all(store.watch({ prefix: "" }, options))],
      ];
      for (const [verb, call] of verbs) {
        const deadline = systemRuntime.monotonic() + 30;
        expect([verb, (await failure(() => call({ deadline }))).code]).toEqual([verb, "TIMEOUT"]);
        const control = new AbortController();
        const calling = failure(() => call({ signal: control.signal }));
        control.abort();
        expect([verb, (await calling).code]).toEqual([verb, "ABORTED"]);
      }
      await store.close();
      await between.idle();
      expect(between.open).toBe(0);
    });

    it("is UNAVAILABLE after the store's own patience", async () => {
      // Its patience is long while it is opened, and over at once when nobody answers.
      const timeoutMs = QUICK_MS_MAX + 1;
      let isOver = false;
      const runtime: Runtime = {
        ...systemRuntime,
        timer: (delayMs, fn, background) => systemRuntime.timer(isOver ? 1 : delayMs, fn, background),
      };
      const store = await open({ runtime, timeoutMs, attempts: 2 });
      between.fates(() => "hang");
      isOver = true;
      const before = store.requests;
      expect(await failure(() => store.read(["k"]))).toMatchObject({ code: "UNAVAILABLE", retryable: true });
      expect(store.requests - before).toBe(2);
    });
  });

  describe("a server that asks to slow down", () => {
    it.each([
      [503, "<Error><Code>SlowDown</Code></Error>"],
      [429, ""],
    ])("with %i is asked again, not before it said", async (status, body) => {
      const spent: number[] = [];
      const runtime = impatient(waits);
      const mine = budget({
        runtime,
        name: "mine",
        limits: [{ name: "all", max: 1000, windowMs: 1000, weights: { read: 1, write: 1 } }],
      });
      const counted = { ...mine, notBefore: (atMs: number) => void spent.push(atMs - runtime.now()) };
      const store = await open({ runtime, budget: counted });
      await write(store, value("k", version(1), "x"));
      waits.length = 0;
      first(2, ({ method }) => method === "GET", { status, headers: { "retry-after": "7" }, body });
      expect(text(await held(store, "k"))).toBe("x");
      expect(waits.filter((wait) => wait >= 7000)).toHaveLength(2);
      expect(spent).toHaveLength(2);
    });

    // Mutation: waited for however long it is.
    it("for longer than a call should wait is told so at once, with the time", async () => {
      const store = await open();
      await write(store, value("k", version(1), "x"));
      between.fates(({ method }) => (method === "GET" ? { status: 503, headers: { "retry-after": "21" } } : "pass"));
      const before = store.requests;
      expect(await failure(() => held(store, "k"))).toMatchObject({ code: "UNAVAILABLE", retryAfterMs: 21_000 });
      expect(store.requests - before).toBe(1);
    });

    it("without saying when is asked again after a random time that doubles", async () => {
      const store = await open();
      await write(store, value("k", version(1), "x"));
      waits.length = 0;
      first(3, ({ method }) => method === "GET", { status: 503 });
      expect(text(await held(store, "k"))).toBe("x");
      expect(waits).toHaveLength(3);
      for (const [i, wait] of waits.entries()) expect(wait).toBeLessThanOrEqual(100 * 2 ** (i + 1));
    });
  });

  describe("an answer that is not S3's", () => {
    const page = (inside: string) => `<?xml version="1.0"?><ListBucketResult>${inside}</ListBucketResult>`;
    const endless = page("<IsTruncated>true</IsTruncated><NextContinuationToken>x</NextContinuationToken>");
    it.each([
      ["a web page", "<html><body>Welcome to the airport</body></html>"],
      ["a document type", `<!DOCTYPE x [<!ENTITY a "b">]>${page("&a;")}`],
      ["too deep", "<a>".repeat(1000)],
      ["a list that never ends", endless],
      ["not closed", "<ListBucketResult><Contents>"],
      ["longer than any list", page("x".repeat(17 * 1024 * 1024))],
    ])("(%s) is refused, not retried, and nothing of it told", async (_, body) => {
      const store = await open();
      between.fates(() => ({ status: 200, headers: { "content-type": "text/html" }, body }));
      const before = between.seen.length;
      const error = await failure(() => all(store.list({ prefix: "" })));
      expect(error).toMatchObject({ code: "UNAVAILABLE", retryable: false });
      expect(error.message).not.toMatch(/airport|<|x{10}/);
      expect(between.seen.length - before).toBe(1);
    });
  });

  it("holds no more connections than it may, and none after close", async () => {
    const store = await open({ concurrency: 5 });
    const entries = Array.from({ length: 200 }, (_, i) => value(`k${i}`, version(i), "x"));
    await store.write(entries.map((entry) => ({ entry, asOf: 0 })));
    await store.read(entries.map(({ key }) => key));
    for await (const item of store.list({ prefix: "" }, { detail: "entries" })) expect(item.kind).toBe("entry");
    expect(between.opened).toBeLessThanOrEqual(5);
    await store.close();
    await between.idle();
    expect(between.open).toBe(0);
  });

  describe("rights and room", () => {
    it("says that credentials were revoked, without showing them", async () => {
      const keys = { accessKeyId: "AKGONE", secretAccessKey: "SKGONEGONE" };
      const create = ["--access-key", keys.accessKeyId, "--secret-key", keys.secretAccessKey];
      await server.admin("user", "create", "--uid", "gone", "--display-name", "gone", ...create);
      const store = await open({ credentials: keys });
      await write(store, value("k", version(1), "x"));
      await server.admin("key", "rm", "--uid", "gone", "--access-key", keys.accessKeyId, "--key-type", "s3");
      const error = await failure(() => store.read(["k"]));
      expect(error).toMatchObject({ code: "UNAUTHORISED", retryable: false });
      expect(await write(store, value("k", version(2), "y"))).toMatchObject({ error: { code: "UNAUTHORISED" } });
      expect(`${error.message} ${JSON.stringify(error)} ${store.name}`).not.toMatch(/AKGONE|SKGONE/);
    });

    it("says that a secret is wrong, and that a bucket is not there, when it is opened", async () => {
      const wrong = { accessKeyId: server.accessKeyId, secretAccessKey: "SECRETOFNOBODY" };
      const error = await failure(() => open({ credentials: wrong, create: false }));
      expect(error.code).toBe("UNAUTHORISED");
      expect(error.message).not.toMatch(/SECRETOFNOBODY/);
      const missing = await failure(() => open({ create: false }));
      expect(missing).toMatchObject({ code: "NOT_FOUND" });
      expect(missing.message).toMatch(/create/);
    });

    it("says that the quota is full, stores what fits, and goes on when there is room", async () => {
      const keys = { accessKeyId: "AKFULL", secretAccessKey: "SKFULLFULL" };
      const create = ["--access-key", keys.accessKeyId, "--secret-key", keys.secretAccessKey];
      await server.admin("user", "create", "--uid", "full", "--display-name", "full", ...create);
      const store = await open({ credentials: keys });
      await write(store, value("before", version(1), "x"));
      await server.admin("quota", "set", "--quota-scope=user", "--uid=full", "--max-size=4096");
      await server.admin("quota", "enable", "--quota-scope=user", "--uid=full");
      const big = value("big", version(2), new Uint8Array(100_000));
      const refused = await write(store, big);
      expect(refused).toMatchObject({ status: "failed", error: { code: "UNAVAILABLE" } });
      expect(refused?.status === "failed" ? refused.error.message : "").toMatch(/quota is full.*QuotaExceeded/);
      expect(text(await held(store, "before"))).toBe("x");
      await server.admin("quota", "disable", "--quota-scope=user", "--uid=full");
      expect(await write(store, big)).toEqual({ status: "stored" });
    });
  });

  // The last one: what other processes change waits long for the gateway that died.
  it("has everything acknowledged when the gateway died and came back, and says so meanwhile", async () => {
    const store = await open({ attempts: 1 });
    const entries = Array.from({ length: 20 }, (_, i) => value(`k${i}`, version(i), `value ${i}`));
    await store.write(entries.map((entry) => ({ entry, asOf: 0 })));
    await server.kill();
    expect((await failure(() => store.read(["k1"]))).code).toBe("UNAVAILABLE");
    const during = await write(store, value("k1", version(99), "lost?"));
    expect(during).toMatchObject({ status: "failed", error: { code: "UNAVAILABLE" } });
    await server.restart();
    const answers = await store.read(entries.map(({ key }) => key));
    expect(answers.map(({ entry }) => text(entry))).toEqual(entries.map(text));
  });
}
