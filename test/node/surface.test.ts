import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { chain } from "../../src/chain/chain.ts";
import { layer } from "../../src/chain/layer.ts";
import { readTokens, localDoor, tokenDoor } from "../../src/node/server/tokens.ts";
import type { NodeLimits } from "../../src/node/node.ts";
import { EVERYTHING } from "../../src/node/grants.ts";
import { MESSAGE_TYPE, decodeMessages, encodeMessage } from "../../src/protocol.ts";
import { chaos } from "../../src/testing/index.ts";
import { problemOf, truth, world } from "./world.ts";
import type { WorldOptions } from "./world.ts";

const lines = async (response: Response) =>
  (await response.text())
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Record<string, unknown>);

describe("lists", () => {
  async function filled() {
    const w = await world();
    for (const key of ["a", "b/1", "b/2", "b/3", "c"]) await w.put(key, `value of ${key}`);
    await w.ask("/v1/kv/b%2F2", { method: "DELETE" });
    return w;
  }

  it("are pages of JSON with a cursor", async () => {
    const { ask } = await filled();
    const all = (await (await ask("/v1/kv")).json()) as { keys: { key: string }[]; cursor: string | null };
    expect(all.keys.map(({ key }) => key)).toEqual(["a", "b/1", "b/3", "c"]);
    expect(all.cursor).toBeNull();
    const first = (await (await ask("/v1/kv?prefix=b/&limit=1")).json()) as typeof all;
    expect([first.keys.map(({ key }) => key), first.cursor]).toEqual([["b/1"], "b/1"]);
    const next = `/v1/kv?prefix=b/&limit=1&cursor=${encodeURIComponent(first.cursor ?? "")}`;
    const second = (await (await ask(next)).json()) as typeof all;
    expect([second.keys.map(({ key }) => key), second.cursor]).toEqual([["b/3"], null]);
  });

  it("are lines of JSON that end with one that says so, with values where they are asked for", async () => {
    const { ask } = await filled();
    const headers = { accept: "application/x-ndjson" };
    const found = await lines(await ask("/v1/kv?prefix=b/&values=1&deleted=1", { headers }));
    expect(found.map(({ key, state, end }) => key ?? state ?? end)).toEqual(["b/1", "b/2", "b/3", true]);
    expect(found[0]).toMatchObject({ state: "value", value: Buffer.from("value of b/1").toString("base64") });
    expect(found[1]).toMatchObject({ state: "deleted" });
    expect(found[1]).not.toHaveProperty("value");
    const cut = await lines(await ask("/v1/kv?limit=2", { headers }));
    expect(cut.at(-1)).toEqual({ end: true, cursor: "b/1" });
  });

  // Mutation: a list that broke off ended as if it were complete.
  it("that a layer failed say so, and one that broke off has no end", async () => {
    const w = await world({
      layers: (runtime) => [layer(chaos(truth(runtime), { runtime, seed: 1 }), { name: "truth" })],
    });
    await w.put("a", "x");
    const [{ store } = { store: undefined }] = w.chain.layers;
    (store as ReturnType<typeof chaos>).down(["list"]);
    const headers = { accept: "application/x-ndjson" };
    const found = await lines(await w.ask("/v1/kv", { headers }));
    expect(found[0]).toMatchObject({ partial: { from: "truth", error: { code: "UNAVAILABLE" } } });
    const page = (await (await w.ask("/v1/kv")).json()) as { partial: unknown[] };
    expect(page.partial).toHaveLength(1);
  });
});

describe("the feed", () => {
  it("is a page that waits for the first change, and goes on after its cursor", async () => {
    const { ask, put, runtime, page } = await world();
    await put("a", "x");
    const initial = (await (await page("/v1/changes?wait=0")).json()) as Page;
    expect(initial).toMatchObject({ changes: [{ key: "a", head: { state: "value" } }], upToDate: true });
    const waiting = ask(`/v1/changes?since=${encodeURIComponent(initial.cursor)}&wait=30`);
    await runtime.advance(5_000);
    await put("b", "x");
    await runtime.advance(100);
    const next = (await (await waiting).json()) as Page;
    expect(next.changes.map(({ key }) => key)).toEqual(["b"]);
    const quiet = ask(`/v1/changes?since=${encodeURIComponent(next.cursor)}&wait=3`);
    await runtime.advance(3_100);
    expect(await (await quiet).json()).toMatchObject({ changes: [], upToDate: true });
  });

  it("is 410 for a cursor that it cannot go on from", async () => {
    const { ask } = await world();
    const gone = await ask("/v1/changes?since=nonsense");
    expect([gone.status, (await problemOf(gone)).reason]).toEqual([410, "must-refetch"]);
  });

  it("is a stream of events with numbers, ids and heartbeats, that goes on after Last-Event-ID", async () => {
    const { ask, put, runtime, node } = await world({ node: { limits: { heartbeatMs: 1_000 } } });
    await put("a", "x");
    const events = await eventsOf(await ask("/v1/changes", { headers: { accept: "text/event-stream" } }));
    await runtime.advance(50);
    await put("b", "x");
    await runtime.advance(2_500);
    const told = events.read();
    expect(told.map(({ event }) => event)).toEqual([
      "heartbeat",
      "change",
      "up-to-date",
      "change",
      "heartbeat",
      "heartbeat",
    ]);
    expect(told.map(({ data }) => data.seq)).toEqual([0, 1, 2, 3, 4, 5]);
    expect(told.flatMap(({ data }) => data.key ?? [])).toEqual(["a", "b"]);
    events.leave();
    await put("c", "x");
    const id = told.findLast(({ id }) => id !== undefined)?.id ?? "";
    const headers = { accept: "text/event-stream", "last-event-id": id };
    const again = await eventsOf(await ask("/v1/changes", { headers }));
    await runtime.advance(50);
    expect(again.read().flatMap(({ data }) => data.key ?? [])).toEqual(["c"]);
    expect(await (await ask("/metrics")).text()).toContain("microsync_feeds_open 1\n");
    node.stop();
    await runtime.advance(50);
    expect(again.ended()).toBe(true);
    expect(await (await ask("/metrics")).text()).toContain("microsync_feeds_open 0\n");
  });

  // Mutation: the feed counted as open when its answer is made.
  it("is not open by an answer that nobody reads", async () => {
    const { ask, page } = await world({ node: { limits: { watchesMax: 1 } } });
    const headers = { accept: "text/event-stream" };
    for (let i = 0; i < 3; i++) expect((await ask("/v1/changes", { method: "HEAD", headers })).status).toBe(200);
    expect((await page("/v1/changes?wait=0")).status).toBe(200);
  });

  it("is refused when there are too many", async () => {
    const { ask, page } = await world({ node: { limits: { watchesMax: 1 } } });
    const one = await ask("/v1/changes", { headers: { accept: "text/event-stream" } });
    const reader = one.body?.getReader();
    await reader?.read();
    expect((await ask("/v1/changes?wait=0")).status).toBe(429);
    await reader?.cancel();
    expect((await page("/v1/changes?wait=0")).status).toBe(200);
  });
});

interface Page {
  readonly changes: readonly { readonly key: string }[];
  readonly cursor: string;
}

/** What a stream of events has told so far. */
async function eventsOf(response: Response) {
  const reader = (response.body as ReadableStream<Uint8Array>).getReader();
  let text = "";
  let isOver = false;
  const reading = (async () => {
    for (;;) {
      const next = await reader.read();
      if (next.done) break;
      text += new TextDecoder().decode(next.value);
    }
    isOver = true;
  })();
  reading.catch(() => undefined);
  const field = (frame: string, name: string) => new RegExp(`^${name}: (.*)$`, "m").exec(frame)?.[1];
  return {
    read: () =>
      text
        .split("\n\n")
        .filter((frame) => frame !== "")
        .map((frame) => ({
          event: field(frame, "event"),
          id: field(frame, "id"),
          data: JSON.parse(field(frame, "data") ?? "{}") as { seq: number; key?: string },
        })),
    leave: () => void reader.cancel(),
    ended: () => isOver,
  };
}

describe("who may ask", () => {
  const hash = (token: string) => createHash("sha256").update(token).digest("hex");
  const file = [
    "# tokens",
    `admin sha256:${hash("a")} read,write,manage`,
    `reader sha256:${hash("r")} read`,
    `users sha256:${hash("u")} read,write users/ a%20b/`,
  ].join("\n");
  const guarded = () => world({ node: { authorise: tokenDoor(readTokens(file, "tokens")) } });
  const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

  // Mutation: the scope of a token not looked at.
  it.each([
    ["a", "/v1/kv/x", "PUT", 200],
    ["r", "/v1/kv/x", "PUT", 403],
    ["r", "/v1/kv/x", "DELETE", 403],
    ["r", "/v1/kv/x", "GET", 404],
    ["r", "/v1/flush", "POST", 403],
    ["u", "/v1/kv/x", "GET", 403],
    ["u", "/v1/kv/x", "PUT", 403],
    ["u", "/v1/kv/users/x", "PUT", 200],
    ["u", "/v1/kv/a%20b/x", "PUT", 200],
    ["u", "/v1/kv?key=users", "GET", 403],
    ["u", "/v1/kv", "GET", 403],
    ["u", "/v1/kv?prefix=users/", "GET", 200],
    ["u", "/v1/kv?prefix=user", "GET", 403],
    ["u", "/v1/changes?wait=0", "GET", 403],
    ["u", "/v1/changes?wait=0&prefix=users/a", "GET", 200],
    ["u", "/unstorage/x", "GET", 403],
    ["u", "/unstorage/users/x", "PUT", 200],
    ["u", "/unstorage/:", "GET", 403],
    ["u", "/metrics", "GET", 403],
    ["a", "/metrics", "GET", 200],
    ["wrong", "/v1/kv/x", "GET", 401],
    ["", "/v1/status", "GET", 401],
  ])("%j at %s by %s: %i", async (token, path, method, status) => {
    const { page } = await guarded();
    const body = method === "PUT" ? { body: "x" } : {};
    const response = await page(path, { method, ...body, headers: token === "" ? {} : bearer(token) });
    expect(response.status).toBe(status);
    if (status === 401) expect(response.headers.get("www-authenticate")).toContain("Bearer");
    if (status === 401 || status === 403) expect((await problemOf(response)).code).toBe("UNAUTHORISED");
  });

  it("is looked at for every key of a batch, and for what concerns all keys", async () => {
    const { ask, chain: layered } = await guarded();
    const send = async (head: object, token: string) =>
      (
        await ask("/v1/batch", {
          method: "POST",
          body: encodeMessage(head) as Uint8Array<ArrayBuffer>,
          headers: bearer(token),
        })
      ).status;
    expect(await send({ op: "read", keys: ["users/a", "users/b"] }, "u")).toBe(200);
    expect(await send({ op: "read", keys: ["users/a", "other"] }, "u")).toBe(403);
    const version = await layered.clock.stamp();
    const item = (key: string, reason: string) => ({ op: "forget", items: [{ key, version, reason }] });
    expect(await send(item("users/a", "ghost"), "u")).toBe(200);
    expect(await send(item("users/a", "collected"), "u")).toBe(403);
    expect(await send(item("other", "ghost"), "u")).toBe(403);
    expect(await send(item("users/a", "ghost"), "r")).toBe(403);
  });

  it("needs no token at the doors that say nothing", async () => {
    const { ask } = await guarded();
    expect((await ask("/livez")).status).toBe(200);
    expect((await ask("/readyz")).status).toBe(200);
  });

  // A page that a browser was lured to is not the user of this machine. Mutation: the host not looked at.
  it("without tokens is this machine by its local names, and no page of another site", async () => {
    const door = localDoor(EVERYTHING);
    const come =
      (url: string, headers: Record<string, string> = {}) =>
      () =>
        door(new Request(url, { headers }));
    for (const url of ["http://127.0.0.1:7420/", "http://localhost/", "http://[::1]:7420/"])
      expect(come(url)).not.toThrow();
    expect(come("http://evil.example:7420/")).toThrow("local names only");
    expect(come("http://127.0.0.1/", { "sec-fetch-site": "cross-site" })).toThrow("other sites");
    expect(come("http://127.0.0.1/", { "sec-fetch-site": "same-origin" })).not.toThrow();
  });

  it("is not told the token of a line that is malformed", () => {
    expect(() => readTokens("ada my-secret read", "tokens")).toThrow(/^tokens, line 1, is no token/);
    expect(() => readTokens("ada my-secret read", "tokens")).not.toThrow(/my-secret/);
    expect(() => readTokens(`ada sha256:${hash("x")} fly`, "tokens")).toThrow("there is no scope");
    expect(() => readTokens(`ada sha256:${hash("x")} read users/%zz`, "tokens")).toThrow("is no token");
  });
});

describe("limits", () => {
  const limited = (limits: Partial<NodeLimits>) => world({ node: { limits } });

  it("on the body, with and without its length, where it cannot go as a stream", async () => {
    const layers: WorldOptions["layers"] = (runtime) => [layer(truth(runtime, "truth", { streamBytesMax: 0 }))];
    const { ask } = await world({ layers, node: { limits: { bodyBytesMax: 10 } } });
    expect((await ask("/v1/kv/k", { method: "PUT", body: "0123456789" })).status).toBe(200);
    const large = await ask("/v1/kv/k", { method: "PUT", body: "0123456789a" });
    expect([large.status, (await problemOf(large)).code]).toEqual([413, "TOO_LARGE"]);
    const stream = new ReadableStream<Uint8Array>({
      pull: (controller) => controller.enqueue(new Uint8Array(4)), // never ends
    });
    const init = { method: "PUT", body: stream, duplex: "half" } as RequestInit;
    expect((await ask("/v1/kv/k", init)).status).toBe(413);
    expect(await (await ask("/v1/kv/k")).text()).toBe("0123456789");
  });

  it("on a body that comes too slowly", async () => {
    const { ask, runtime } = await limited({ requestMs: 1_000 });
    const body = new ReadableStream<Uint8Array>({ pull: () => new Promise(() => undefined) });
    const slow = ask("/v1/kv/k", { method: "PUT", body, duplex: "half" });
    await runtime.advance(1_100);
    expect((await slow).status).toBe(504);
  });

  it("on a batch, and what it is made of", async () => {
    const { ask } = await limited({ batchMax: 2 });
    const send = async (body: string | Uint8Array<ArrayBuffer>) => {
      const response = await ask("/v1/batch", { method: "POST", body });
      return response.status === 200 ? 200 : [response.status, (await problemOf(response)).code];
    };
    const message = (head: object) => encodeMessage(head) as Uint8Array<ArrayBuffer>;
    expect(await send(message({ op: "read", keys: ["a", "b"] }))).toBe(200);
    expect(await send(message({ op: "read", keys: ["a", "b", "c"] }))).toEqual([413, "TOO_LARGE"]);
    for (const head of [
      {},
      { op: "fly" },
      { op: "read" },
      { op: "read", keys: 5 },
      { op: "read", keys: [""] },
      { op: "read", keys: [5] },
    ]) {
      expect(await send(message(head))).toEqual([400, "INVALID"]);
    }
    const lying = encodeMessage({ op: "write", writes: [{ key: "a", bytes: 1000, ageMs: 0 }] });
    expect(await send(lying as Uint8Array<ArrayBuffer>)).toEqual([400, "INVALID"]);
    const damaged = encodeMessage({ op: "write", writes: [{ key: "a", bytes: 40, ageMs: 0 }] }, [new Uint8Array(40)]);
    expect(await send(damaged as Uint8Array<ArrayBuffer>)).toEqual([400, "INVALID"]);
    expect(await send("not a message at all")).toEqual([413, "TOO_LARGE"]);
    expect(await send("")).toEqual([400, "INVALID"]);
    expect((await send(Uint8Array.of(0, 0, 0, 9, 0, 0, 0, 0, 1))) as unknown[]).toContain("CORRUPT");
  });

  it("on keys and metadata", async () => {
    const { ask, put } = await world();
    expect((await ask(`/v1/kv?key=${"x".repeat(513)}`)).status).toBe(413);
    expect((await ask("/v1/kv?key=")).status).toBe(400);
    expect((await ask("/v1/kv/%ff")).status).toBe(400);
    expect((await put("k", "v", { "sync-meta-long": "x".repeat(1_100) })).status).toBe(413);
    expect((await put("k", "v", { "sync-meta-a_b": "x" })).status).toBe(400);
    expect((await put("k", "v", { "sync-ttl": "soon" })).status).toBe(400);
    expect((await put("k", "v", { "sync-ttl": "5", "sync-expires": "5" })).status).toBe(400);
  });
});

describe("the rest", () => {
  it("what is stored is never a page of the node's origin", async () => {
    const { ask, put } = await world();
    await put("page", "<script>alert(1)</script>", { "content-type": "text/html" });
    const page = await ask("/v1/kv/page");
    expect(page.headers.get("content-security-policy")).toBe("default-src 'none'; sandbox");
    expect(page.headers.get("x-content-type-options")).toBe("nosniff");
  });

  it("paths and methods that are not there are 404 and 405", async () => {
    const { ask } = await world();
    const none = await ask("/v1/nothing");
    expect([none.status, (await problemOf(none)).status]).toEqual([404, 404]);
    const method = await ask("/v1/kv/k", { method: "PATCH" });
    expect([method.status, method.headers.get("allow")]).toEqual([405, "GET, PUT, DELETE, HEAD"]);
  });

  it("status says what the node can, and how its layers stand", async () => {
    const { ask } = await world();
    expect(await (await ask("/v1/status")).json()).toMatchObject({
      node: "here",
      supports: { conditional: true, batchMax: 10_000 },
      limits: { bodyBytesMax: 64 * 2 ** 20 },
      shape: {
        node: "here",
        layers: [
          { name: "memory", role: "cache" },
          { name: "truth", role: "store" },
        ],
      },
      status: { authority: "truth", layers: [{ name: "memory" }, { name: "truth" }] },
    });
  });

  it("readyz is 200 once the watches have begun, and 503 when the node stops", async () => {
    const { ask, node, runtime } = await world();
    await runtime.advance(100);
    expect(await (await ask("/readyz?verbose")).text()).toBe("[+]not stopping ok\n[+]watches begun ok\n");
    node.stop();
    const stopping = await ask("/readyz");
    expect([stopping.status, await stopping.text()]).toEqual([503, "[-]not stopping failed\n[+]watches begun ok\n"]);
    expect(stopping.headers.get("connection")).toBe("close");
    expect((await ask("/livez")).status).toBe(200);
  });

  it("metrics count requests and layers, and no key is a label", async () => {
    const { ask, put } = await world();
    await put("a-key-of-somebody", "x");
    await ask("/v1/kv/a-key-of-somebody");
    await ask("/v1/kv/none");
    const text = await (await ask("/metrics")).text();
    expect(text).toContain('microsync_http_requests_total{route="/v1/kv/{key}",method="GET",status="200"} 1\n');
    expect(text).toContain('microsync_http_requests_total{route="/v1/kv/{key}",method="GET",status="404"} 1\n');
    expect(text).toContain('microsync_layer_hits_total{layer="memory",role="cache"} 1\n');
    expect(text).not.toContain("somebody");
    for (const line of text.trim().split("\n"))
      expect(line).toMatch(/^(?:# (?:HELP|TYPE) \w+ .+|\w+(?:\{.*\})? [\d.e+-]+)$/);
  });

  it("a name that no header holds is refused", async () => {
    const { runtime, chain: layered } = await world();
    expect(runtime.now()).toBeGreaterThan(0);
    expect(layered.name).toBe("chain(memory,truth)");
    await expect(world({ node: { name: "a, b" } })).rejects.toMatchObject({ code: "INVALID" });
    expect(() => chain([], { runtime, clock: layered.clock })).toThrow("at least one layer");
  });

  it("messages survive being cut into pieces anywhere", async () => {
    const parts = [Uint8Array.of(1, 2, 3), new Uint8Array(0), Uint8Array.of(4)];
    const two = Buffer.concat([encodeMessage({ a: "ä" }, parts), encodeMessage({ b: 1 })]);
    for (let size = 1; size < two.length; size += 3) {
      const pieces = async function* () {
        for (let at = 0; at < two.length; at += size) yield two.subarray(at, at + size);
      };
      const found: unknown[] = [];
      for await (const { head, parts: bytes } of decodeMessages(pieces(), 1_000)) found.push(head, [...bytes]);
      expect(found).toEqual([{ a: "ä" }, [1, 2, 3, 4], { b: 1 }, []]);
    }
    expect(MESSAGE_TYPE).toBe("application/vnd.microsync.messages");
  });
});
