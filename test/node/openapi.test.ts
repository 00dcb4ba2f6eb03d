import { describe, expect, it } from "vitest";
import { ROUTES } from "../../src/node/node.ts";
import { encodeMessage } from "../../src/protocol.ts";
import { read } from "../project.ts";
import { world } from "./world.ts";

interface Operation {
  readonly operationId: string;
  readonly responses: Readonly<Record<string, Reply>>;
  readonly parameters: readonly { readonly name: string; readonly in: string; readonly required?: boolean }[];
}

interface Reply {
  readonly $ref?: string;
  readonly content?: Readonly<Record<string, unknown>>;
}

const document = JSON.parse(read("docs/openapi.json")) as {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly responses: Readonly<Record<string, Reply>> };
};

const METHODS = ["GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"];

describe("docs/openapi.json", () => {
  // Mutation: a route left out of either.
  it("has the routes of the handler, and no others", () => {
    const documented = Object.entries(document.paths).map(([path, operations]) => {
      return [path, Object.keys(operations).map((method) => method.toUpperCase())];
    });
    expect(Object.fromEntries(documented)).toEqual(ROUTES);
  });

  it.each(Object.keys(document.paths))("says which methods of %s are answered", async (path) => {
    const { page, runtime } = await world();
    for (const method of METHODS) {
      const isThere = document.paths[path]?.[method.toLowerCase()] !== undefined;
      const body = method === "PUT" || method === "POST" ? { body: "x" } : {};
      const answer = page(`${path.replace("{key}", "k")}?key=k&wait=0`, { method, ...body });
      await runtime.advance(10);
      expect([method, (await answer).status === 405]).toEqual([method, !isThere]);
    }
  });

  it("has every status and content type that comes, and every header that is needed", async () => {
    const { page, runtime, put } = await world();
    await put("k", "0123456789", { "content-type": "application/x-own" });
    const tag = (await page("/v1/kv/k")).headers.get("etag") ?? "";
    const message = encodeMessage({ op: "read", keys: ["k"] }) as Uint8Array<ArrayBuffer>;
    const lines = { "content-type": "application/x-ndjson" };
    const asked: [string, string, RequestInit?, string?][] = [
      ["/livez", "/livez"],
      ["/readyz", "/readyz"],
      ["/metrics", "/metrics"],
      ["/v1/status", "/v1/status"],
      ["/v1/flush", "/v1/flush", { method: "POST" }],
      ["/v1/kv", "/v1/kv"],
      ["/v1/kv", "/v1/kv?limit=x"],
      ["/v1/kv", "/v1/kv", { headers: { accept: "application/x-ndjson" } }],
      ["/v1/kv", "/v1/kv", { headers: { accept: "application/vnd.microsync.messages" } }],
      ["/v1/kv", "/v1/kv?key=none"],
      ["/v1/kv", "/v1/kv?key=q", { method: "PUT", body: "x" }],
      ["/v1/kv", "/v1/kv?key=q", { method: "DELETE" }],
      ["/v1/kv/{key}", "/v1/kv/k"],
      ["/v1/kv/{key}", "/v1/kv/none"],
      ["/v1/kv/{key}", "/v1/kv/k", { headers: { "if-none-match": tag } }],
      ["/v1/kv/{key}", "/v1/kv/k", { headers: { "if-match": '"x"' } }],
      ["/v1/kv/{key}", "/v1/kv/k", { headers: { range: "bytes=0-1" } }],
      ["/v1/kv/{key}", "/v1/kv/k", { headers: { range: "bytes=99-" } }],
      ["/v1/kv/{key}", "/v1/kv/none", { headers: { "cache-control": "only-if-cached" } }],
      ["/v1/kv/{key}", "/v1/kv/k", { headers: { "sync-via": "here" } }],
      ["/v1/kv/{key}", "/v1/kv/k", { method: "PUT", body: "x", headers: { "if-none-match": "*" } }],
      ["/v1/kv/{key}", "/v1/kv/k", { method: "PUT", body: "x", headers: { "sync-ack": "journal" } }],
      ["/v1/kv/{key}", `/v1/kv/${"x".repeat(600)}`, { method: "PUT", body: "x" }],
      ["/v1/batch", "/v1/batch", { method: "POST", body: message }],
      ["/v1/batch", "/v1/batch", { method: "POST", body: "" }],
      ["/v1/batch", "/v1/batch", { method: "POST", body: '{"op":"get","key":"k"}', headers: lines }],
      ["/v1/batch", "/v1/batch", { method: "POST", body: "{}", headers: lines }],
      ["/v1/stream", "/v1/stream?key=s", { method: "PUT", body: "x" }],
      ["/v1/changes", "/v1/changes?wait=0"],
      ["/v1/changes", "/v1/changes?since=x"],
      ["/unstorage/{key}", "/unstorage/k"],
      ["/unstorage/{key}", "/unstorage/:"],
      ["/unstorage/{key}", "/unstorage/:", { method: "DELETE" }],
      ["/unstorage/{key}", "/unstorage/k", { method: "PUT", body: "x", headers: { "x-ttl": "5" } }],
    ];
    for (const [route, path, init] of asked) {
      const answer = await page(path, init);
      await runtime.advance(10);
      const operation = document.paths[route]?.[(init?.method ?? "GET").toLowerCase()];
      const what = `${init?.method ?? "GET"} ${path} ${JSON.stringify(init?.headers ?? {})}: ${answer.status}`;
      const reply = operation?.responses[String(answer.status)];
      expect(reply, what).toBeDefined();
      const { content } = reply?.$ref === undefined ? { content: reply?.content } : problem;
      const type = answer.headers.get("content-type")?.split(";")[0] ?? "";
      const hasBody = (await answer.text()) !== "";
      if (hasBody)
        expect(
          Object.keys(content ?? {}).some((name) => name === type || name === "*/*"),
          `${what} ${type}`,
        ).toBe(true);
    }
  });
});

const problem = document.components.responses["Problem"] ?? {};
