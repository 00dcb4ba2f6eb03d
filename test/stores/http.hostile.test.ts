import { describe, expect, it } from "vitest";
import { NO_META } from "../../src/entry.ts";
import type { Entry } from "../../src/entry.ts";
import { SyncError } from "../../src/error.ts";
import { HEADER, MESSAGE_TYPE, encodeEntry, encodeMessage } from "../../src/protocol.ts";
import { http } from "../../src/stores/http.ts";
import type { HttpStore, Transport } from "../../src/stores/http.ts";
import { simulatedRuntime } from "../../src/testing/index.ts";
import { formatVersion } from "../../src/version.ts";
import { drain } from "../node/world.ts";

const version = formatVersion(2 ** 41, 0, "00000000000000aa");
const entry: Entry = { key: "k", state: "value", value: Uint8Array.of(1), version, expires: null, meta: NO_META };

interface Said {
  readonly status?: number;
  readonly type?: string;
  readonly body: Uint8Array | string | (() => AsyncIterable<Uint8Array>);
}

/** A store of a node that says whatever it likes. */
async function storeOf(say: (path: string) => Said): Promise<HttpStore> {
  const runtime = simulatedRuntime({ seed: 1, drain });
  const transport: Transport = () => ({
    connections: 0,
    send: () => Promise.reject(new Error("not used")),
    stream: ({ url }) => {
      const { status = 200, type = MESSAGE_TYPE, body } = say(new URL(url).pathname);
      const bytes = typeof body === "string" ? new TextEncoder().encode(body) : body;
      const pieces = async function* () {
        if (typeof bytes === "function") yield* bytes();
        else yield bytes;
      };
      return Promise.resolve({ status, headers: { "content-type": type }, body: pieces() });
    },
    close: () => Promise.resolve(),
  });
  return http("http://node.test/", { runtime, transport, timeoutMs: 1_000 });
}

const message = (head: unknown, ...parts: Uint8Array[]) => encodeMessage(head as object, parts);
const good = encodeEntry(entry);
const damaged = good.slice();
damaged[damaged.length - 1] = (damaged.at(-1) ?? 0) ^ 1;

const failed = async (work: Promise<unknown>) => work.then(() => "an answer").catch((error: unknown) => error);
const all = async (items: AsyncIterable<unknown>) => {
  for await (const item of items) void item;
};

/** Neither a crash nor a miss: a store that could not be asked. */
const UNAVAILABLE = { name: "SyncError", code: "UNAVAILABLE", retryable: true, store: "http" };

describe("a node that says nonsense is a node that did not answer", () => {
  // Mutations: what a decoder throws passed on as it is; the type of the answer not looked at.
  it.each([
    ["nothing", ""],
    ["no message", "x"],
    ["another type", { type: "text/html", body: "<html>" }],
    ["an error page", { status: 500, type: "text/html", body: "<html>" }],
    ["a redirect", { status: 302, body: "" }],
    ["an answer of another type", { type: "text/plain", body: message({ answers: [{ ageMs: 0, from: "x" }] }) }],
    ["a message that claims too much", Uint8Array.of(255, 255, 255, 255, 255, 255, 255, 255)],
    ["a head that is no JSON", Uint8Array.of(0, 0, 0, 1, 0, 0, 0, 0, 123)],
    ["null", message(null)],
    ["no answers", message({})],
    ["answers of null", message({ answers: [null] })],
    ["too few answers", message({ answers: [] })],
    ["too many answers", message({ answers: Array.from({ length: 9 }, () => ({ ageMs: 0, from: "x" })) })],
    ["an answer from nowhere", message({ answers: [{ ageMs: 0 }] })],
    ["an entry that is not there", message({ answers: [{ ageMs: 0, from: "x", bytes: 100 }] })],
    ["a length below nothing", message({ answers: [{ ageMs: 0, from: "x", bytes: -1 }] }, good)],
    ["a damaged entry", message({ answers: [{ ageMs: 0, from: "x", bytes: good.length }] }, damaged)],
    [
      "another key's entry",
      message({ answers: [{ ageMs: 0, from: "x", bytes: 41 }] }, encodeEntry({ ...entry, key: "l" })),
    ],
    [
      "a stub",
      message({ answers: [{ ageMs: 0, from: "x", bytes: 29 }] }, encodeEntry({ ...entry, state: "stub", value: null })),
    ],
  ] as const)("read: %s", async (_, said) => {
    const store = await storeOf(() => (typeof said === "object" && "body" in said ? said : { body: said }));
    expect(await failed(store.read(["k"]))).toMatchObject(UNAVAILABLE);
  });

  it.each([
    ["no results", message({})],
    ["results of null", message({ results: [null] })],
    ["too few results", message({ results: [] })],
    ["too many results", message({ results: [{ status: "stored" }, { status: "stored" }] })],
  ] as const)("write: %s", async (_, body) => {
    const store = await storeOf(() => ({ body }));
    expect(await failed(store.write([{ entry, asOf: 0 }]))).toMatchObject(UNAVAILABLE);
  });

  it("write: a result that is none is the failure of its write", async () => {
    for (const result of [{ status: "fine" }, { status: "superseded", by: "x" }, { status: "failed" }]) {
      const store = await storeOf(() => ({ body: message({ results: [result] }) }));
      expect(await store.write([{ entry, asOf: 0 }])).toMatchObject([{ status: "failed", error: UNAVAILABLE }]);
    }
  });

  it.each([
    ["no items", message({})],
    ["an item of null", message({ items: [null] })],
    ["an empty key", message({ items: [{ key: "", tag: "x" }] })],
    ["a head that is none", message({ items: [{ key: "k", tag: "x", head: { state: "stub", version } }] })],
    ["metadata that is none", message({ items: [{ key: "k", tag: "x", head: { ...entry, meta: { A: 1 } } }] })],
    ["no end", message({ items: [] })],
    ["a key without a tag", message({ items: [{ key: "k" }], end: true })],
  ] as const)("list: %s", async (_, body) => {
    const store = await storeOf(() => ({ body }));
    expect(await failed(all(store.list({ prefix: "" })))).toMatchObject(UNAVAILABLE);
  });

  it.each([
    ["no JSON", "event: change\ndata: {\n\n"],
    ["no number", "event: change\ndata: {}\n\n"],
    ["no key", 'event: change\ndata: {"seq":0,"cursor":"c","head":null}\n\n'],
    ["a head that is none", 'event: change\ndata: {"seq":0,"key":"k","cursor":"c","head":{"state":"value"}}\n\n'],
    ["no cursor", 'event: up-to-date\ndata: {"seq":0}\n\n'],
  ])("watch: %s", async (_, text) => {
    const store = await storeOf((path) => (path.endsWith("/changes") ? { body: text } : { body: "" }));
    const watch = store.watch({ prefix: "" })[Symbol.asyncIterator]();
    // It is tried again and again; nothing of it is ever told but that there is nothing to rely on.
    expect((await watch.next()).value).toMatchObject({ kind: "interrupted" });
    const first = watch.next();
    first.catch(() => undefined);
    const outcome = await Promise.race([first.then(() => "told").catch(() => "failed"), drain().then(() => "nothing")]);
    expect(outcome).toBe("nothing");
    await store.close();
  });

  // Mutation: what is no value is gathered however long it is.
  it("what it says of itself is not read without measure", async () => {
    let sent = 0;
    const endless = async function* () {
      for (; sent < 2 ** 25; sent += 65_536) yield new Uint8Array(65_536).fill(32);
    };
    const store = await storeOf(() => ({ type: "application/json", body: endless }));
    expect(sent).toBeLessThan(2 ** 23);
    sent = 0;
    expect(await failed(store.flush())).toMatchObject({ name: "SyncError", code: "TOO_LARGE" });
    expect(sent).toBeLessThan(2 ** 24); // with that it is asked once more who it is
  });

  // Mutation: a message is gathered however long it says that it is.
  it.each([
    ["head", [0x20, 0, 0, 0, 0, 0, 0, 0]],
    ["entries", [0, 0, 0, 2, 0x20, 0, 0, 0]],
  ])("a message whose %s would take half a GiB is refused before it comes", async (_, begins) => {
    let sent = 0;
    const endless = async function* () {
      yield Uint8Array.from(begins);
      for (; sent < 2 ** 24; sent += 65_536) yield new Uint8Array(65_536).fill(32);
    };
    const store = await storeOf((path) => (path.endsWith("/batch") ? { body: endless } : { body: "" }));
    expect(await failed(store.read(["k"]))).toMatchObject(UNAVAILABLE);
    expect(sent).toBeLessThan(2 ** 20);
  });

  // Mutation: a call has only the deadline that its caller gives it.
  it("a call ends by the store's own time, of which the node is told", async () => {
    const asked: (readonly [deadline: number | undefined, told: string | undefined])[] = [];
    const runtime = simulatedRuntime({ seed: 1, drain });
    const transport: Transport = () => ({
      connections: 0,
      send: () => Promise.reject(new Error("not used")),
      stream({ headers }, { deadline }) {
        asked.push([deadline && deadline - runtime.monotonic(), headers[HEADER.timeout]]);
        return Promise.reject(new SyncError("UNAVAILABLE", "as the test wants"));
      },
      close: () => Promise.resolve(),
    });
    const store = await http("http://node.test/", { runtime, transport, timeoutMs: 1_000 });
    asked.length = 0;
    await failed(store.read(["k"]));
    await failed(store.write([{ entry, asOf: 0 }], { deadline: runtime.monotonic() + 300 }));
    await failed(store.forget([{ key: "k", version, reason: "ghost" }], { deadline: runtime.monotonic() + 5_000 }));
    expect(asked).toEqual([
      [1_000, "1000"],
      [300, "300"],
      [1_000, "1000"],
    ]);
  });

  // Mutation: the batch that the node names taken as it is: who sends in batches of none never ends.
  it("what it says of itself is believed within bounds", async () => {
    const deep = (depth: number): object => ({
      node: "n",
      layers: depth === 0 ? [null, 5, { name: 1 }] : [{ name: "l", role: "store", below: deep(depth - 1) }],
    });
    const nonsense = {
      keyBytesMax: 9_999,
      valueBytesMax: -1,
      streamBytesMax: "x",
      batchMax: 0,
      conditional: 1,
      stubs: true,
    };
    const hello = { supports: nonsense, limits: { bodyBytesMax: 0.5 }, shape: deep(1_000) };
    const store = await storeOf(() => ({ type: "application/json", body: JSON.stringify(hello) }));
    expect(store.supports).toMatchObject({
      keyBytesMax: 512,
      valueBytesMax: 8 * 2 ** 20,
      streamBytesMax: 0,
      batchMax: 10_000,
      conditional: true,
      stubs: false,
    });
    expect(JSON.stringify(store.below()).length).toBeLessThan(2_000);
  });

  it("watch: an event without an end is given up before it fills memory", async () => {
    let sent = 0;
    const endless = async function* () {
      for (;;) {
        sent += 65_536;
        yield new Uint8Array(65_536).fill(97);
        if (sent > 2 ** 24) return;
      }
    };
    const store = await storeOf((path) => (path.endsWith("/changes") ? { body: endless } : { body: "" }));
    const watch = store.watch({ prefix: "" })[Symbol.asyncIterator]();
    watch.next().catch(() => undefined);
    for (let turn = 0; turn < 50; turn++) await drain();
    expect(sent).toBeLessThan(2 ** 22);
    await store.close();
  });
});
