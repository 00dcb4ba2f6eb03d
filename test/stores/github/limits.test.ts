import { createHmac, createPublicKey, createVerify, generateKeyPairSync } from "node:crypto";
import { execFileSync } from "node:child_process";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { GITHUB_LIMITS } from "../../../src/budget.ts";
import { SyncError } from "../../../src/error.ts";
import type { Change, Store } from "../../../src/store.ts";
import { GRAPHQL_LIMITS, githubBudgets, githubWebhook } from "../../../src/stores/github/index.ts";
import { systemRuntime } from "../../../src/system.ts";
import { keysOf, put, textOf, tombstone, value, writes } from "../git/entries.ts";
import { credentials } from "../../../src/stores/github/credentials.ts";
import { pauseOf } from "../../../src/stores/github/failures.ts";
import { ampleBudgets, githubWorld } from "./world.ts";
import type { GithubWorld } from "./world.ts";

/** What each verb costs in requests, GitHub's limits, who one is, and what wakes a watch. */
let world: GithubWorld;
beforeEach(async () => {
  world = await githubWorld();
});
afterEach(() => world.close());

async function requestsOf(work: () => Promise<unknown>): Promise<string[]> {
  const before = world.server.requests.length;
  await work();
  return world.server.requests.slice(before).map(({ method, path, status }) => {
    const what = /graphql|git\/[a-z]+|commits|compare|contents/.exec(path)?.[0] ?? "repository";
    return `${method} ${what} ${status}`;
  });
}

const failing = async (work: Promise<unknown>): Promise<SyncError> => {
  const error: unknown = await work.then(
    () => undefined,
    (caught: unknown) => caught,
  );
  if (!(error instanceof SyncError)) throw new Error(`no SyncError: ${String(error)}`);
  return error;
};
const binary = (key: string, i: number) => ({ ...value(key, ""), value: new Uint8Array([0, 255, i, i >> 8]) });
/** A store that knows nothing, and asks for the head only when it must. */
const fresh = (name: string) => world.open(undefined, { cacheFolder: `${world.folder}/${name}`, freshMs: 86_400_000 });

describe("the cost in requests", () => {
  // Mutations it catches: a request for each key, reading back what was just written, a head asked without its tag.
  it("of a batch is one mutation, of text and of bytes, however many keys there are already", async () => {
    const store = await world.open(undefined, { freshMs: 86_400_000 });
    await put(store, value("first", "1"));
    for (const count of [1, 100]) {
      const texts = Array.from({ length: count }, (_, i) => value(`t/${count}/${i}`, String(i)));
      expect(await requestsOf(() => put(store, ...texts))).toEqual(["POST graphql 200"]);
      const bytes = Array.from({ length: count }, (_, i) => binary(`b/${count}/${i}`, i));
      expect(await requestsOf(() => put(store, ...bytes))).toEqual(["POST graphql 200"]);
      expect(await requestsOf(() => put(store, value(`t/${count}/0`, "again"), tombstone(`b/${count}/0`)))).toEqual([
        "POST graphql 200",
      ]);
    }
    // What this store wrote is read without a request; that it is the newest costs a 304, which is free.
    expect(await requestsOf(() => store.read(["t/100/99"]))).toEqual([]);
    expect(await requestsOf(() => store.read(["t/100/99"], { authority: true }))).toEqual(["GET git/ref 200"]);
    expect(await requestsOf(() => store.read(["t/100/99"], { authority: true }))).toEqual(["GET git/ref 304"]);
  }, 90_000);

  it("of a batch without GraphQL is folder, commit and reference, and one more for each value that is no text", async () => {
    world.server.hasGraphql = false;
    const store = await world.open();
    await put(store, value("first", "1"));
    const three = ["POST git/trees 201", "POST git/commits 201", "PATCH git/refs 200"];
    const texts = Array.from({ length: 20 }, (_, i) => value(`t/${i}`, String(i)));
    expect(await requestsOf(() => put(store, ...texts))).toEqual(three);
    expect(await requestsOf(() => put(store, binary("b", 1)))).toEqual(["POST git/blobs 201", ...three]);
  });

  it("of a text batch above what one request takes grows by the pace, and shrinks by 502", async () => {
    const store = await world.open();
    await put(store, value("first", "1"));
    const many = (from: number) => Array.from({ length: 500 }, (_, i) => value(`t/${from + i}`, "x"));
    // 1,000 entries: 50, 100, 200, 400, the rest.
    const sizes: number[] = [];
    let fails = 0;
    world.server.fault = (request, body) => {
      if (request.method !== "POST" || request.url?.endsWith("/git/trees") !== true) return undefined;
      sizes.push((JSON.parse(body.toString()) as { tree: unknown[] }).tree.length);
      return fails-- > 0 ? { status: 502, body: { message: "Server Error" } } : undefined;
    };
    await put(store, ...many(0));
    expect(sizes).toEqual([50, 100, 200, 400, 250]);
    sizes.length = 0;
    fails = 3;
    await put(store, ...many(500));
    // Three tries at 400, then half.
    expect(sizes).toEqual([400, 400, 400, 200, 400, 400]);
    expect((await keysOf(store)).length).toBe(1001);
  }, 60_000);

  it("of a cold read is a handful for 100 keys, and of a list one folder, also when GitHub cuts it short", async () => {
    const store = await world.open();
    await put(store, ...Array.from({ length: 100 }, (_, i) => value(`t/${i}`, `value ${i}`)));
    const keys = Array.from({ length: 100 }, (_, i) => `t/${i}`);
    const other = await fresh("a");
    const reading = await requestsOf(async () => {
      const answers = await other.read(keys);
      expect(answers.every(({ entry }) => entry !== undefined)).toBe(true);
    });
    // Records, then values, in pieces of a growing size.
    expect(new Set(reading)).toEqual(new Set(["POST graphql 200"]));
    expect(reading.length).toBeLessThanOrEqual(4);
    expect(await requestsOf(() => keysOf(other))).toEqual(["GET git/ref 304"]);

    world.server.treeEntriesMax = 30;
    const cut = await fresh("b");
    expect(await keysOf(cut)).toEqual(keys.toSorted());
    expect(await textOf(cut, "t/42")).toBe("value 42");
  }, 90_000);

  it("of following somebody else's commit does not grow with what is stored", async () => {
    const [one, two] = [await fresh("a"), await fresh("b")];
    await put(one, ...Array.from({ length: 300 }, (_, i) => value(`t/${i}`, "x")));
    await two.read(["t/0"], { authority: true });
    await put(one, value("t/7", "changed"));
    const following = await requestsOf(async () => expect(await textOf(two, "t/7")).toBe("changed"));
    expect(following.length).toBeLessThanOrEqual(12);
    expect(following.slice(0, 2)).toEqual(["GET git/ref 200", "GET commits 200"]);
  }, 90_000);
});

describe("limits", () => {
  it("above one's own budget are refused before the wire, with the time to wait, and leave a share for reads", async () => {
    // Sixty times as long as GitHub's: a slow machine must not wait them out.
    const rest = GITHUB_LIMITS.map((limit) => ({ ...limit, windowMs: limit.windowMs * 60 }));
    const budgets = githubBudgets({ runtime: systemRuntime, rest, graphql: GRAPHQL_LIMITS });
    const store = await world.open(undefined, { budgets });
    // The first write makes the repository's first commit too: two pushes.
    for (let i = 0; i < 5; i++) await put(store, value("k", String(i)));
    const before = world.server.requests.length;
    const error = await failing(store.write(writes([value("k", "one too many")])));
    expect(error).toMatchObject({ code: "UNAVAILABLE", retryable: true });
    expect(error.retryAfterMs).toBeGreaterThan(1_800_000);
    expect(error.retryAfterMs).toBeLessThanOrEqual(3_604_000);
    expect(world.server.requests.slice(before).filter(({ method }) => method !== "GET")).toEqual([]);
    expect(await textOf(store, "k")).toBe("4");
  });

  // Mutation: a budget refuses the count of a limit that it does not have.
  it("that one's own budgets lack are not counted, whatever the answers say of them", async () => {
    const budgets = githubBudgets({ runtime: systemRuntime, rest: [], graphql: [] });
    const store = await world.open(undefined, { budgets });
    await put(store, value("k", "1"));
    expect(await textOf(store, "k")).toBe("1");
  });

  it("that GitHub names by retry-after or by its counts are kept, and said", async () => {
    const budgets = ampleBudgets();
    const store = await world.open(undefined, { budgets });
    await put(store, value("k", "1"));
    const secondary = { message: "You have exceeded a secondary rate limit. Please wait." };
    world.server.fault = () => ({ status: 403, headers: { "retry-after": "120" }, body: secondary });
    const error = await failing(store.write(writes([value("k", "2")])));
    expect(error).toMatchObject({ code: "UNAVAILABLE", retryable: true, retryAfterMs: 120_000 });
    // The next ones do not even ask.
    const before = world.server.requests.length;
    expect((await failing(store.read(["k"], { authority: true }))).retryAfterMs).toBeGreaterThan(100_000);
    expect(world.server.requests.length).toBe(before);
    world.server.fault = () => undefined;

    const other = ampleBudgets();
    const again = await world.open(undefined, { budgets: other });
    const reset = String(Math.floor(Date.now() / 1000) + 1_000);
    const headers = { "x-ratelimit-remaining": "0", "x-ratelimit-reset": reset, "x-ratelimit-resource": "core" };
    world.server.fault = () => ({ status: 403, headers, body: { message: "API rate limit exceeded" } });
    const primary = await failing(again.read(["k"], { authority: true }));
    expect(primary.retryAfterMs).toBeGreaterThan(900_000);
    expect(other.rest.status()[0]?.remaining).toBe(0);
  });

  // Mutations: each branch of `pauseOf` left out.
  it.each([
    [403, { "retry-after": "120" }, "Resource not accessible", 120_000],
    [429, { "retry-after": "0" }, "", 0],
    [403, {}, "You have exceeded a secondary rate limit.", 60_000],
    [403, {}, "You have triggered an abuse detection mechanism.", 60_000],
    [429, {}, "Too many requests", 60_000],
    [403, { "x-ratelimit-remaining": "0", "x-ratelimit-reset": "1005" }, "", 5_000],
    [403, { "x-ratelimit-remaining": "1", "x-ratelimit-reset": "1005" }, "Must have admin rights", undefined],
    [404, { "retry-after": "120" }, "Not Found", undefined],
  ] as const)("are told from other refusals: %i %j %s", (status, headers, message, pauseMs) => {
    const bytes = Buffer.from(JSON.stringify({ message }));
    expect(pauseOf({ status, headers, bytes }, 1_000_000)).toBe(pauseMs);
  });

  // Mutations: RATE_LIMITED taken for any other error of GraphQL; the next request not held back by it.
  it("that GraphQL names in an answer of status 200 are kept, and said", async () => {
    const store = await world.open();
    await put(store, value("k", "1"));
    const errors = [{ type: "RATE_LIMITED", message: "API rate limit exceeded" }];
    const headers = { "x-ratelimit-reset": String(Math.floor(systemRuntime.now() / 1000) + 1_000) };
    world.server.fault = (_, body) =>
      body.includes("createCommitOnBranch") ? { status: 200, headers, body: { data: null, errors } } : undefined;
    for (const asks of [true, false]) {
      const before = world.server.requests.filter(({ path }) => path === "/graphql").length;
      const error = await failing(store.write(writes([value("k", "2")])));
      expect(error).toMatchObject({ code: "UNAVAILABLE", retryable: true });
      expect(error.retryAfterMs).toBeGreaterThan(900_000);
      expect(world.server.requests.filter(({ path }) => path === "/graphql").length > before).toBe(asks);
    }
  });

  // Mutation: the counts of GraphQL, or those of REST, not taken over.
  it.each(["graphql", "core"] as const)("that GitHub counts for %s are one's own from then on", async (resource) => {
    const budgets = ampleBudgets();
    const store = await world.open(undefined, { budgets });
    const headers = {
      "x-ratelimit-remaining": "7",
      "x-ratelimit-reset": String(Math.floor(systemRuntime.now() / 1000) + 1_000),
      "x-ratelimit-resource": resource,
    };
    const body = { data: null, errors: [{ type: "FORBIDDEN", message: "no" }] };
    world.server.fault = (request) =>
      request.url?.endsWith("/graphql") === true || resource === "core" ? { status: 200, headers, body } : undefined;
    await failing(resource === "core" ? store.read(["k"], { authority: true }) : put(store, value("k", "1")));
    const { graphql, rest } = budgets;
    expect((resource === "graphql" ? graphql : rest).status()[0]?.remaining).toBe(7);
    expect((resource === "graphql" ? rest : graphql).status()[0]?.remaining).toBeGreaterThan(1_000);
  });

  it("of a short pause are waited for", async () => {
    const store = await world.open();
    await put(store, value("k", "1"));
    let said = 0;
    world.server.fault = (_, body) => {
      if (!body.includes("createCommitOnBranch") || said++ > 0) return undefined;
      return { status: 429, headers: { "retry-after": "0" }, body: { message: "Too many requests" } };
    };
    await put(store, value("k", "2"));
    expect(said).toBe(2);
  });
});

describe("who one is", () => {
  it("a token that may only read opens a read-only store; none at all reads what is public by REST", async () => {
    await put(await world.open(), value("k", "1"));
    world.server.tokens.set("tok_reader", "read");
    const store = await world.open(undefined, { token: "tok_reader" });
    expect(store.supports.readonly).toBe(true);
    expect(await textOf(store, "k")).toBe("1");
    const [result] = await store.write(writes([value("k", "2")]));
    expect(result).toMatchObject({ status: "failed", error: { code: "READONLY" } });
    const wrong = await failing(world.open(undefined, { token: "tok_wrong" }));
    expect(wrong).toMatchObject({ code: "UNAUTHORISED", store: "github" });
    expect(wrong.message + JSON.stringify(wrong)).not.toContain("tok_wrong");
    const split = await failing(world.open(undefined, { token: "tok\nsplit" }));
    expect(split.code).toBe("INVALID");
    expect(split.message).not.toContain("split");
  });

  it("a GitHub app signs in by its key, and its token is renewed before it ends and when it is refused", async () => {
    const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
    let issued = 0;
    let lifeMs = 3_600_000;
    world.server.extra = (request, _, response) => {
      const path = request.url ?? "";
      if (!/installation/.test(path)) return Promise.resolve(false);
      const jwt = request.headers.authorization?.replace("Bearer ", "").split(".") ?? [];
      const signed = createVerify("RSA-SHA256").update(`${jwt[0]}.${jwt[1]}`);
      const isRight = signed.verify(
        createPublicKey(publicKey.export({ type: "spki", format: "pem" })),
        jwt[2] ?? "",
        "base64url",
      );
      const { iss, exp, iat } = JSON.parse(Buffer.from(jwt[1] ?? "", "base64url").toString()) as Record<
        string,
        unknown
      >;
      const fits = isRight && iss === "4711" && Number(exp) - Number(iat) <= 600;
      const say = (status: number, body: unknown) => response.writeHead(status).end(JSON.stringify(body));
      if (!fits) say(401, { message: "A JSON web token could not be decoded" });
      else if (request.method === "GET") say(200, { id: 99 });
      else {
        world.server.tokens.clear();
        world.server.tokens.set(`ghs_${++issued}`, "write");
        say(201, { token: `ghs_${issued}`, expires_at: new Date(Date.now() + lifeMs).toISOString() });
      }
      return Promise.resolve(true);
    };
    const pem = privateKey.export({ type: "pkcs1", format: "pem" }).toString();
    const store = await world.open(undefined, { token: undefined, app: { appId: 4711, privateKey: pem } });
    await put(store, value("k", "1"));
    expect(issued).toBe(1);
    world.server.tokens.clear(); // revoked: the next request renews it
    lifeMs = 1_000; // within the margin: used up at once
    expect(await textOf(store, "k")).toBe("1");
    expect(issued).toBe(2);
    await put(store, value("k", "2"));
    expect(issued).toBeGreaterThan(2);
    const broken = await failing(
      world.open(undefined, { token: undefined, app: { appId: 1, privateKey: `${pem.slice(0, 200)}SECRET` } }),
    );
    expect(broken).toMatchObject({ code: "INVALID" });
    expect(broken.message + String(broken.cause)).not.toContain("SECRET");
  });

  // Mutations: a token for each who asks at once; renewed only when it has ended; a failure kept; the first one's signal
  // ends it for all.
  it("an app's token is asked for once for all, five minutes before it ends, and again after a failure", async () => {
    const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
    const app = {
      appId: 1,
      installationId: 2,
      privateKey: privateKey.export({ type: "pkcs1", format: "pem" }) as string,
    };
    let now = 1_800_000_000_000;
    let issued = 0;
    let fails = true;
    const who = credentials({ app }, {}, { ...systemRuntime, now: () => now }, "octo/store", async () => {
      await Promise.resolve();
      if (fails) throw new SyncError("UNAVAILABLE", "GitHub is down", {});
      return { token: `ghs_${++issued}`, expires_at: new Date(now + 3_600_000).toISOString() };
    });
    const thrice = () => Promise.all([1, 2, 3].map(() => who.token({})));
    expect((await failing(thrice())).code).toBe("UNAVAILABLE");
    fails = false;
    expect(await thrice()).toEqual(["ghs_1", "ghs_1", "ghs_1"]);
    now += 3_300_000 - 1;
    expect(await who.token({})).toBe("ghs_1");
    now++;
    expect(await thrice()).toEqual(["ghs_2", "ghs_2", "ghs_2"]);
    now += 3_600_000;
    const control = new AbortController();
    const [givenUp, other] = [failing(who.token({ signal: control.signal })), who.token({})];
    control.abort();
    expect([(await givenUp).code, await other]).toEqual(["ABORTED", "ghs_3"]);
  });

  it.each([
    ["github:", "INVALID"],
    ["github:octo", "INVALID"],
    ["github:octo/store/more", "INVALID"],
    ["github://user:secret@host/octo/store", "INVALID"],
    ["github:octo/store#a..b", "INVALID"],
    ["github:octo/store#main:../x", "INVALID"],
    ["github:octo/none", "NOT_FOUND"],
    ["github:octo/store#missing", "NOT_FOUND"],
  ] as const)("%s is refused as %s", async (url, code) => {
    await put(await world.open(), value("k", "1"));
    const error = await failing(world.open(url));
    expect(error).toMatchObject({ code, store: "github" });
    expect(error.cure).toBeDefined();
    expect(error.message).not.toMatch(/secret|\n/);
  });

  // Mutations: the address of the API, or of the LFS server, not looked at.
  it.each([{ api: "http://example.org/api/v3" }, { lfsUrl: "http://example.org/octo/store.git/info/lfs" }])(
    "a token is not sent without TLS to another machine: %j",
    async (options) => {
      const error = await failing(world.open(undefined, options));
      expect(error).toMatchObject({ code: "INVALID" });
    },
  );
});

describe("a webhook", () => {
  const secret = "0123456789abcdef0123";
  const body = (ref = "refs/heads/main") =>
    Buffer.from(JSON.stringify({ ref, repository: { full_name: "Octo/Store" } }));
  const signed = (bytes: Buffer, key = secret) => ({
    "x-github-event": "push",
    "x-hub-signature-256": `sha256=${createHmac("sha256", key).update(bytes).digest("hex")}`,
  });

  // Mutation: a signature that is not compared, or of another length; a delivery while the watch is busy that is lost.
  it("wakes the watch of its branch, and only when GitHub signed it", async () => {
    const webhook = githubWebhook({ secret });
    const store: Store = await world.open(undefined, { webhook });
    await put(store, value("k", "1"));
    const changes: Change[] = [];
    const watching = store.watch({ prefix: "" }, { intervalMs: 86_400_000, initial: false })[Symbol.asyncIterator]();
    expect((await watching.next()).value).toMatchObject({ kind: "current" });
    const next = watching.next().then(({ value: change }) => changes.push(change as Change));
    const bare = ["-C", world.bare];
    const by = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"];
    const blob = execFileSync("git", [...bare, "hash-object", "-w", "--stdin"], { input: "by hand" })
      .toString()
      .trim();
    const tree = execFileSync("git", [...bare, "ls-tree", "main"]).toString();
    const made = execFileSync("git", [...bare, "mktree"], { input: `${tree}100644 blob ${blob}\tperson\n` })
      .toString()
      .trim();
    const commit = execFileSync("git", [...bare, ...by, "commit-tree", made, "-p", "main", "-m", "by hand"])
      .toString()
      .trim();
    execFileSync("git", [...bare, "update-ref", "refs/heads/main", commit]);
    let woken = 0;
    webhook.subscribe("octo/store", "main", () => woken++);
    const before = world.server.requests.length;
    expect(webhook.receive(signed(body(), "another secret, no"), body())).toBe(false);
    expect(webhook.receive({ "x-github-event": "push" }, body())).toBe(false);
    const [, right = ""] = signed(body())["x-hub-signature-256"].split("=");
    for (const wrong of [right, "sha256=", `sha256=${right.slice(2)}`, `sha256=${right}00`, `sha1=${right}`]) {
      const headers = { "x-github-event": "push", "x-hub-signature-256": wrong };
      expect([wrong, webhook.receive(headers, body())]).toEqual([wrong, false]);
    }
    expect(webhook.receive(signed(body()), body("refs/heads/mainly"))).toBe(false);
    expect(webhook.receive(signed(body("refs/heads/other")), body("refs/heads/other"))).toBe(true);
    expect([world.server.requests.length, woken]).toEqual([before, 0]);
    expect(webhook.receive(new Headers(signed(body())), body())).toBe(true);
    await next;
    expect(changes).toMatchObject([{ kind: "change", key: "person", head: { state: "value" } }]);
    await watching.return?.();
  });

  // Mutation: BODY_BYTES_MAX not looked at.
  it("takes no delivery that is larger than GitHub sends", () => {
    const webhook = githubWebhook({ secret });
    const [largest, larger] = [25, 25.001].map((mib) => Buffer.alloc(mib * 1024 * 1024, " "));
    for (const [bytes, isTaken] of [[largest, true] as const, [larger, false] as const]) {
      expect(webhook.receive(signed(bytes as Buffer), bytes as Buffer)).toBe(isTaken);
    }
  });

  it("has no secret that could be guessed", () => {
    expect(() => githubWebhook({ secret: "short" })).toThrow(/16 characters/);
  });
});
