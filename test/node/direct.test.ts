import { once } from "node:events";
import { request as httpRequest } from "node:http";
import type { IncomingMessage } from "node:http";
import { connect } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { chain } from "../../src/chain/chain.ts";
import { layer } from "../../src/chain/layer.ts";
import { EVERYTHING } from "../../src/node/grants.ts";
import { nodeOver } from "../../src/node/node.ts";
import type { NodeOptions } from "../../src/node/node.ts";
import { listen } from "../../src/node/server/listen.ts";
import { localDoor, readTokens, tokenDoor } from "../../src/node/server/tokens.ts";
import { http } from "../../src/stores/http.ts";
import { memory } from "../../src/stores/memory.ts";
import { systemRuntime as runtime } from "../../src/system.ts";
import { simulatedRuntime } from "../../src/testing/index.ts";
import { formatVersion, versionClock } from "../../src/version.ts";
import { exactClock } from "../../src/runtime.ts";
import { drain, world } from "./world.ts";

const open: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).toReversed()) await close();
});

/** A node behind a socket that tells how many requests its handler was asked. */
async function served(options: NodeOptions = {}) {
  const clock = await versionClock({ runtime });
  const layered = chain([layer(memory({ runtime }))], { runtime, clock });
  const node = nodeOver(layered, { name: "here", ...options });
  let asked = 0;
  const counting = {
    ...node,
    fetch: (request: Request) => {
      asked++;
      return node.fetch(request);
    },
    get stopping() {
      return node.stopping;
    },
  };
  const server = await listen(counting, { port: 0 });
  open.push(async () => {
    await server.stop(1_000);
    await layered.close();
  });
  const get = async (path: string, headers: Record<string, string | string[]> = {}, method = "GET") => {
    const asking = httpRequest({ port: server.port, host: "127.0.0.1", path, method, headers, agent: false });
    asking.end();
    const [answer] = (await once(asking, "response")) as [IncomingMessage];
    const chunks: Buffer[] = [];
    for await (const chunk of answer) chunks.push(chunk as Buffer);
    return { status: answer.statusCode, headers: answer.headers, body: Buffer.concat(chunks).toString("latin1") };
  };
  const handled = async (work: () => Promise<unknown>) => {
    const before = asked;
    await work();
    return asked - before;
  };
  const put = (key: string, body: string, headers: Record<string, string> = {}) =>
    fetch(`${server.url}/v1/kv/${key}`, { method: "PUT", body, headers });
  return { server, node, chain: layered, get, handled, put };
}

describe("a plain GET of what memory holds", () => {
  // Mutations: a header less, another status for a tombstone; a text's length in units, or a text outside ASCII as Latin-1.
  it("is answered without the handler, and as the handler does", async () => {
    const { get, put, handled, chain: layered } = await served();
    await put("typed", "{}", { "content-type": "application/json", "sync-meta-title": "Gr%C3%BC%C3%9Fe" });
    await put("ends", "v", { "sync-expires": String(runtime.now() + 60_000) });
    await put("empty", "");
    await put("json", '{"name":"長いümlaut 😀"}', { "content-type": "application/json" });
    await put("latin", "Grüße", { "content-type": "text/plain" });
    await put("large", `"${"長".repeat(1_000)}"`, { "content-type": "application/json" });
    await put("users%2F1", "slashes");
    await put("gr%C3%B6%C3%9Fe", "UTF-8");
    await put("gone", "v");
    await put("odd", "v", { "content-type": "text/plain;  charset=utf-8" });
    for (const key of [
      "typed",
      "ends",
      "empty",
      "json",
      "latin",
      "large",
      "users/1",
      "users%2f1",
      "gr%C3%B6%C3%9Fe",
      "gone",
      "odd",
    ]) {
      if (key === "gone") await layered.write([tombstone("gone")]);
      const direct = await expectCount(0, () => get(`/v1/kv/${key}`));
      // A query is nothing to the handler, and too much for the direct answer.
      const full = await expectCount(1, () => get(`/v1/kv/${key}?`));
      expect(steady(direct), key).toEqual(steady(full));
    }
    async function expectCount<T>(count: number, work: () => Promise<T>): Promise<T> {
      let result: T | undefined;
      expect(await handled(async () => (result = await work()))).toBe(count);
      return result as T;
    }
  });

  // Mutations: 200 for the version that one has, 304 for another, a length told of no body.
  it("tells that the version one has is the newest, as the handler does", async () => {
    const { get, put, handled } = await served();
    await put("k", "v", { "content-type": "text/plain" });
    const tag = String((await get("/v1/kv/k")).headers.etag);
    for (const [tags, status] of [
      [tag, 304],
      [`"a", W/${tag}`, 304],
      ["*", 304],
      ['"a"', 200],
      ["", 200],
    ] as const) {
      const condition = { "if-none-match": tags };
      let direct: Awaited<ReturnType<typeof get>> | undefined;
      expect(await handled(async () => (direct = await get("/v1/kv/k", condition)))).toBe(0);
      expect([direct?.status, direct?.body], tags).toEqual([status, status === 304 ? "" : "v"]);
      expect(direct && steady(direct), tags).toEqual(steady(await get("/v1/kv/k?", condition)));
    }
    expect((await get("/v1/kv/none", { "if-none-match": "*" })).status).toBe(404);
    const { body } = await get("/metrics");
    expect(body).toContain('microsync_http_requests_total{route="/v1/kv/{key}",method="GET",status="304"} 6\n');
  });

  // Mutation: what was found of a path once is kept whatever the version.
  it("tells of what the key is now, however often its path was asked for", async () => {
    const { get, put, handled, chain: layered } = await served();
    const tags = new Set<unknown>();
    const look = async (body: string, type: string) => {
      expect(
        await handled(async () => {
          const answer = await get("/v1/kv/k");
          expect([answer.body, answer.headers["content-type"]]).toEqual([body, type]);
          expect(answer.headers["content-length"]).toBe(String(body.length));
          tags.add(answer.headers.etag);
        }),
      ).toBe(0);
    };
    await put("k", "one", { "content-type": "text/plain" });
    await look("one", "text/plain");
    await look("one", "text/plain");
    await put("k", "three", { "content-type": "text/html" });
    await look("three", "text/html");
    expect(tags.size).toBe(2);
    await layered.write([tombstone("k")]);
    expect(await handled(async () => expect((await get("/v1/kv/k")).status).toBe(404))).toBe(0);
  });

  // Mutation: the length is kept with the version. Two values of one version should not be, and yet framing has to hold.
  it("is as long as it says, whatever a version is given to", async () => {
    const { get, chain: layered } = await served();
    const { entry, asOf } = value("k");
    for (const bytes of [Uint8Array.of(1), Uint8Array.of(2, 2)]) {
      await layered.write([{ entry: { ...entry, value: bytes }, asOf }]);
      const { headers, body } = await get("/v1/kv/k");
      expect([headers["content-length"], body.length]).toEqual([String(bytes.length), bytes.length]);
    }
  });

  it("is right for more paths than it remembers", async () => {
    const { node, chain: layered } = await served();
    const keys = Array.from({ length: 2_100 }, (_, i) => `k${i}`);
    await layered.write(keys.map((key) => value(key)));
    const head = { hostname: "localhost", header: () => null };
    for (const key of [...keys, ...keys]) {
      const version = layered.look(key)?.entry.version;
      expect(node.hit(`/v1/kv/${key}`, head)?.headers).toContain(`"${version}"`);
    }
  });

  it("is counted as a request, and as one hit", async () => {
    const { get, put, chain: layered } = await served();
    await put("k", "v");
    await get("/v1/kv/k");
    await get("/v1/kv/k");
    expect(layered.status().layers[0]?.hits).toBe(2);
    const { body } = await get("/metrics");
    expect(body).toContain('microsync_http_requests_total{route="/v1/kv/{key}",method="GET",status="200"} 2\n');
  });

  it.each([
    ["a directive", "/v1/kv/k", { "cache-control": "max-age=60" }, 200],
    ["a condition", "/v1/kv/k", { "if-match": '"x"' }, 412],
    ["two conditions", "/v1/kv/k", { "if-none-match": ['"a"', '"b"'] }, 200],
    ["a range", "/v1/kv/k", { range: "bytes=0-0" }, 206],
    ["a version to be met", "/v1/kv/k", { "sync-at-least": "x" }, 400],
    ["a time limit", "/v1/kv/k", { "sync-timeout-ms": "x" }, 400],
    ["nodes before this one", "/v1/kv/k", { "sync-via": "here" }, 508],
    ["a header nobody knows", "/v1/kv/k", { "x-new": "1" }, 200],
    ["a body", "/v1/kv/k", { "content-length": "0" }, 200],
    ["a key that memory lacks", "/v1/kv/none", {}, 404],
    ["a path that folds", "/v1/kv/x/../k", {}, 200],
    ["a path that folds, escaped", "/v1/kv/x/%2E%2e/k", {}, 200],
    ["a dot at the beginning", "/v1/kv/.k", {}, 200],
    ["a path that is no UTF-8", "/v1/kv/%ff", {}, 400],
    ["no key", "/v1/kv/", {}, 400],
    ["another path", "/v1/kvk", {}, 404],
  ])("with %s goes to the handler", async (_, path, headers, status) => {
    const { get, put, handled, chain: layered } = await served();
    await put("k", "v");
    // Keys that no path names.
    await layered.write(["x/../k", ".k"].map((key) => value(key)));
    expect(await handled(async () => expect((await get(path, headers)).status).toBe(status))).toBe(1);
  });

  it("needs a host that is one", async () => {
    const { get, put } = await served();
    await put("k", "v");
    expect((await get("/v1/kv/k", { host: "a b" })).status).toBe(400);
  });

  it("says how old it is", async () => {
    const { node, put, runtime: simulated } = await world();
    await put("k", "v");
    await simulated.advance(2_500);
    const headers = node.hit("/v1/kv/k", { hostname: "localhost", header: () => null })?.headers ?? [];
    expect([headers[headers.indexOf("age") + 1], headers[headers.indexOf("sync-age-ms") + 1]]).toEqual(["2", "2500"]);
  });

  it("ends with the value, also while the coarse clock lags", async () => {
    const simulated = simulatedRuntime({ seed: 1, drain });
    const begun = simulated.now();
    const { node, put } = await world({
      runtime: { ...simulated, coarse: exactClock(() => begun), now: () => simulated.now() },
    });
    await put("k", "v", { "sync-ttl": "1" });
    await simulated.advance(1_500);
    const hit = node.hit("/v1/kv/k", { hostname: "localhost", header: () => null });
    expect([hit?.status, hit?.headers.includes("expired")]).toEqual([404, true]);
  });

  it("is not the same as a HEAD", async () => {
    const { get, put, handled } = await served();
    await put("k", "v");
    expect(await handled(async () => expect((await get("/v1/kv/k", {}, "HEAD")).body).toBe(""))).toBe(1);
  });

  it("keeps its place among requests that were sent without waiting", async () => {
    const { server, put } = await served();
    await put("k", "v1");
    const socket = connect(server.port, "127.0.0.1");
    const line = (path: string, more = "") => `GET ${path} HTTP/1.1\r\nhost: localhost\r\n${more}\r\n`;
    socket.write(line("/v1/kv/none") + line("/v1/kv/k") + line("/v1/kv/none", "connection: close\r\n"));
    let text = "";
    for await (const chunk of socket) text += (chunk as Buffer).toString("latin1");
    expect([...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status)).toEqual(["404", "200", "404"]);
  });
});

describe("the door of a direct answer", () => {
  const hash = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
  const tokens = tokenDoor(readTokens(`ada sha256:${hash} read,write\nbob sha256:${hash} write`, "t").slice(0, 1));
  const authorization = "Bearer secret";

  it("asks for a token, once", async () => {
    const { get, put, handled } = await served({ authorise: tokens });
    await put("k", "v", { authorization });
    expect(await handled(async () => expect((await get("/v1/kv/k", { authorization })).body).toBe("v"))).toBe(0);
    expect((await get("/v1/kv/k")).status).toBe(401);
    expect((await get("/v1/kv/k", { authorization: "Bearer other" })).status).toBe(401);
    expect(await handled(async () => expect((await get("/v1/kv/k", { authorization })).body).toBe("v"))).toBe(0);
    // Node's own reading of such a request would take the first.
    expect((await get("/v1/kv/k", { authorization: [authorization, "Bearer other"] })).status).toBe(401);
    expect((await get("/v1/kv/k", { authorization: ["Bearer other", authorization] })).status).toBe(401);
  });

  it("looks at scopes and prefixes", async () => {
    const grants = [`ada sha256:${hash} write`, `ada sha256:${hash} read,write users/`];
    for (const [line, status] of [
      [grants[0], 403],
      [grants[1], 403],
    ] as const) {
      const { get, chain: layered } = await served({ authorise: tokenDoor(readTokens(line ?? "", "t")) });
      await layered.write([value("k")]);
      expect((await get("/v1/kv/k", { authorization })).status).toBe(status);
    }
  });

  it("is closed to other names and other sites where there is no token", async () => {
    const { get, put, handled } = await served({ authorise: localDoor(EVERYTHING) });
    await put("k", "v");
    for (const host of ["localhost:7420", "127.0.0.1", "[::1]:80", "LOCALHOST"]) {
      expect(await handled(async () => expect((await get("/v1/kv/k", { host })).status, host).toBe(200))).toBe(0);
    }
    expect((await get("/v1/kv/k", { host: "evil.test" })).status).toBe(403);
    expect((await get("/v1/kv/k", { host: "evil.test" })).status).toBe(403);
    expect((await get("/v1/kv/k", { host: "localhost" })).status).toBe(200);
    expect((await get("/v1/kv/k", { "sec-fetch-site": "cross-site" })).status).toBe(403);
    expect((await get("/v1/kv/k", { "sec-fetch-site": "none" })).status).toBe(200);
  });

  it("is the caller's own, and then the handler's", async () => {
    const seen: string[] = [];
    const authorise = ({ url }: Request) => {
      seen.push(url);
      return EVERYTHING;
    };
    const { get, put } = await served({ authorise });
    await put("k", "v");
    await get("/v1/kv/k");
    expect(seen).toHaveLength(2);
  });
});

it("a node that stops says of a direct answer too that it is the last", async () => {
  const { node, get, put } = await served();
  await put("k", "v");
  node.stop();
  expect((await get("/v1/kv/k", { connection: "keep-alive" })).headers.connection).toBe("close");
});

it("a node that stands below itself answers nothing directly", async () => {
  const told = await served();
  const below = await http(told.server.url, { runtime });
  open.push(() => below.close());
  const clock = await versionClock({ runtime });
  // It may open before the node has told its name.
  while (below.below() === undefined) await below.read(["k"]);
  const near = memory({ runtime });
  const layered = chain([layer(near), layer(below)], { runtime, clock });
  open.push(() => layered.close());
  await layered.write([value("k")]);
  const head = { hostname: "localhost", header: () => null };
  expect(nodeOver(layered, { name: "other" }).hit("/v1/kv/k", head)?.status).toBe(200);
  expect(nodeOver(layered, { name: "here" }).hit("/v1/kv/k", head)).toBeUndefined();
});

function value(key: string) {
  const version = formatVersion(runtime.now(), 0, "0123456789abcdef");
  const entry = { key, state: "value", value: Uint8Array.of(1), version, expires: null, meta: {} } as const;
  return { entry, asOf: runtime.now() };
}

function tombstone(key: string) {
  const { entry, asOf } = value(key);
  const deleted = { ...entry, state: "deleted", value: null, version: formatVersion(asOf + 1, 0, "0123456789abcdef") };
  return { entry: deleted as typeof deleted & { state: "deleted" }, asOf };
}

/** Without what changes from one answer to the next, however long a text is told to be. */
function steady({ status, headers, body }: { status: number | undefined; headers: object; body: string }) {
  const { date, age, "sync-age-ms": ageMs, "transfer-encoding": framing, ...rest } = headers as Record<string, string>;
  if (framing === "chunked") rest["content-length"] = String(body.length);
  return { status, body, headers: rest, told: [date, age, ageMs].map((each) => each !== undefined) };
}
