import { describe, expect, it } from "vitest";
import { layer } from "../../src/chain/layer.ts";
import { openJournal } from "../../src/journal/open.ts";
import { memory } from "../../src/stores/memory.ts";
import { simulatedFiles } from "../../src/testing/files.ts";
import { chaos, simulatedRuntime } from "../../src/testing/index.ts";
import { drain, problemOf, truth, world } from "./world.ts";
import type { World } from "./world.ts";

const TYPE = "application/x-ndjson";

async function batch(
  { ask, runtime }: Pick<World, "ask" | "runtime">,
  steps: readonly unknown[],
  headers: Record<string, string> = {},
  ms = 100,
) {
  const body = steps.map((step) => `${typeof step === "string" ? step : JSON.stringify(step)}\n`).join("");
  const answer = ask("/v1/batch", { method: "POST", body, headers: { "content-type": TYPE, ...headers } });
  await runtime.advance(ms);
  const response = await answer;
  if (response.status !== 200) return { status: response.status, problem: await problemOf(response), told: [] };
  expect(response.headers.get("content-type")).toBe(TYPE);
  const text = response.text();
  await runtime.advance(ms);
  const told = (await text).split("\n").flatMap((line) => (line === "" ? [] : [JSON.parse(line) as Told]));
  return { status: 200, told, problem: undefined };
}

interface Told {
  readonly key: string;
  readonly state?: string;
  readonly version?: string;
  readonly error?: { readonly code: string };
  readonly [name: string]: unknown;
}

describe("a batch of lines", () => {
  // Mutation: results out of order; a value decoded and encoded anew; metadata left out.
  it("has a result for each, in their order, and gives back what it took", async () => {
    const w = await world();
    const { told } = await batch(w, [
      { op: "put", key: "json", value: { a: [1, null] }, meta: { by: "Ada" } },
      { op: "put", key: "text", text: "häh", type: "text/markdown" },
      { op: "put", key: "bytes", base64: "AAECAw==", expires: w.runtime.now() + 60_000 },
      { op: "get", key: "json" },
      { op: "get", key: "text" },
      { op: "get", key: "bytes" },
      { op: "delete", key: "json" },
      { op: "get", key: "json" },
      { op: "get", key: "never" },
    ]);
    const versions = told.slice(0, 3).map(({ version }) => version);
    expect(told.slice(3)).toEqual([
      { key: "json", state: "value", version: versions[0], value: { a: [1, null] }, meta: { by: "Ada" } },
      { key: "text", state: "value", version: versions[1], text: "häh", type: "text/markdown" },
      {
        key: "bytes",
        state: "value",
        version: versions[2],
        base64: "AAECAw==",
        type: "application/octet-stream",
        expires: expect.any(Number) as number,
      },
      { key: "json", version: told[6]?.version },
      { key: "json", state: "deleted", version: told[6]?.version },
      { key: "never", state: "absent" },
    ]);
    expect((await w.ask("/v1/kv/text")).headers.get("content-type")).toBe("text/markdown");
  });

  // Mutation: a line that fails ends the batch.
  it("tells of each line that failed, and does the others", async () => {
    const runtime = simulatedRuntime({ seed: 1, drain });
    const source = chaos(truth(runtime), { runtime, seed: 1 });
    const w = await world({ runtime, layers: () => [layer(memory({ runtime })), layer(source, { watch: false })] });
    await w.put("k", "v");
    const tag = (await w.put("k", "v2")).headers.get("sync-version") ?? "";
    const { told } = await batch(w, [
      { op: "put", key: "k", text: "x", if: "absent" },
      { op: "put", key: "k", text: "x", if: tag },
      { op: "put", key: "k2", text: "y" },
    ]);
    expect(told.map(({ error, version }) => error?.code ?? typeof version)).toEqual(["CONFLICT", "string", "string"]);
    source.down(["read"]);
    const reads = await batch(w, [
      { op: "get", key: "k" },
      { op: "get", key: "unknown" },
      { op: "get", key: "k2" },
    ]);
    expect(reads.told.map(({ error, text }) => error?.code ?? text)).toEqual(["x", "UNAVAILABLE", "y"]);
  });

  // Mutations: looked at while others are done already; no limit.
  it.each([
    ["not JSON", ["{"], 400, /^line 2: /],
    ["another op", [{ op: "drop", key: "k" }], 400, /op is get, put or delete/],
    ["a field of another op", [{ op: "get", key: "k", text: "x" }], 400, /get has no field/],
    ["no value", [{ op: "put", key: "k" }], 400, /needs one of/],
    ["no version", [{ op: "put", key: "k", text: "x", if: "x" }], 400, /is "absent" or a version/],
    ["too long a key", [{ op: "get", key: "k".repeat(600) }], 413, /512/],
    [
      "too many lines",
      [
        { op: "get", key: "k" },
        { op: "get", key: "k" },
      ],
      413,
      /at most 2 lines/,
    ],
    ["too large", [{ op: "put", key: "k", text: "x".repeat(2_000) }], 413, /more than 1000 bytes/],
  ])("with %s is refused before anything is done", async (_, steps, status, what) => {
    const w = await world({ node: { limits: { batchMax: 2, bodyBytesMax: 1_000 } } });
    const refused = await batch(w, [{ op: "put", key: "first", text: "x" }, ...steps]);
    expect(refused.status).toBe(status);
    expect(refused.problem?.reason).toMatch(what);
    expect((await w.page("/v1/kv/first")).status).toBe(404);
  });

  it("is refused for a key that is not the caller's", async () => {
    const authorise = () => ({ name: "ada", verbs: ["read", "write"] as const, prefixes: ["a/"] });
    const w = await world({ node: { authorise } });
    const refused = await batch(w, [
      { op: "put", key: "a/x", text: "x" },
      { op: "get", key: "b/x" },
    ]);
    expect(refused.status).toBe(403);
  });

  // Mutation: Cache-Control or Sync-Ack of the request passed over.
  it("is as fresh, and acknowledged as far, as its headers ask", async () => {
    const runtime = simulatedRuntime({ seed: 1, drain });
    const journal = await openJournal({ files: simulatedFiles({ seed: 1 }), runtime });
    const source = chaos(truth(runtime), { runtime, seed: 1 });
    const w = await world({
      runtime,
      chain: { journal },
      layers: () => [layer(memory({ runtime })), layer(source, { name: "truth", watch: false })],
    });
    source.hang({ verbs: ["write"] });
    const late = await batch(w, [{ op: "put", key: "k", text: "x" }], { "sync-ack": "truth", prefer: "wait=0" });
    expect(late.told).toMatchObject([{ key: "k", pending: ["truth"] }]);
    const done = await batch(w, [{ op: "put", key: "j", text: "x" }]);
    expect(done.told[0]).not.toHaveProperty("pending");
    source.resume();
    await runtime.advance(20_000);
    const calls = source.calls("read");
    await batch(w, [{ op: "get", key: "k" }]);
    expect(source.calls("read")).toBe(calls);
    await batch(w, [{ op: "get", key: "k" }], { "cache-control": "no-cache" });
    expect(source.calls("read")).toBeGreaterThan(calls);
  });
});
