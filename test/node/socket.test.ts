import { once } from "node:events";
import { readFile, rm } from "node:fs/promises";
import { connect } from "node:net";
import type { Socket } from "node:net";
import { request as tlsRequest } from "node:https";
import { afterEach, describe, expect, it } from "vitest";
import { layer } from "../../src/chain/layer.ts";
import { http } from "../../src/stores/http.ts";
import { memory } from "../../src/stores/memory.ts";
import { chaos } from "../../src/testing/index.ts";
import { readTokens, tokenDoor } from "../../src/node/server/tokens.ts";
import { makeCertificates } from "../servers/certificates.ts";
import { folderFor } from "../stores/http/folder.ts";
import { overMemory, runtime, serve, storeOf } from "../stores/http/world.ts";
import type { Served } from "../stores/http/world.ts";

const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const each of open.splice(0).toReversed()) await each.close();
});

async function served(...args: Parameters<typeof serve>): Promise<Served> {
  const own = await serve(...args);
  open.push(own);
  return own;
}

/** A client that speaks by hand. */
async function byHand(port: number): Promise<{ socket: Socket; heard: () => string; ended: Promise<unknown> }> {
  const socket = connect(port, "127.0.0.1");
  let text = "";
  socket.setEncoding("utf8").on("data", (data: string) => {
    text += data;
  });
  socket.on("error", () => undefined);
  const ended = once(socket, "close");
  await once(socket, "connect");
  return { socket, heard: () => text, ended };
}

describe("stopping", () => {
  // Mutation: the connections closed at once.
  it("cuts no request: those under way are answered, feeds end, and nobody new gets in", async () => {
    const slow = chaos(memory({ runtime }), { runtime, seed: 1 });
    const { server, node } = await served([layer(slow, { name: "slow" })]);
    slow.hang({ verbs: ["write"] });
    const put = fetch(`${server.url}/v1/kv/k`, { method: "PUT", body: "v" });
    const feed = await fetch(`${server.url}/v1/changes`, { headers: { accept: "text/event-stream" } });
    const told = feed.text();
    while (slow.calls("write") === 0) await new Promise<void>((next) => setImmediate(next));
    const stopped = server.stop(10_000);
    expect(node.stopping).toBe(true);
    expect(await told).toContain("event: up-to-date");
    await expect(fetch(`${server.url}/livez`)).rejects.toThrow();
    slow.resume();
    const answer = await put;
    expect([answer.status, answer.headers.get("connection")]).toEqual([200, "close"]);
    expect(await stopped).toBe(0);
  });

  it("cuts what is left after its time, and says how many", async () => {
    const slow = chaos(memory({ runtime }), { runtime, seed: 1 });
    const { server } = await served([layer(slow, { name: "slow" })]);
    slow.hang({ verbs: ["write"] });
    const put = fetch(`${server.url}/v1/kv/k`, { method: "PUT", body: "v" }).catch((error: unknown) => error);
    while (slow.calls("write") === 0) await new Promise<void>((next) => setImmediate(next));
    expect(await server.stop(10)).toBe(1);
    expect(await put).toBeInstanceOf(Error);
    slow.resume();
  });
});

describe("clients that are no good", () => {
  it("are cut off when they do not finish their headers", async () => {
    const { server } = await served([layer(memory({ runtime }))], { listen: { headersMs: 50, requestMs: 100 } });
    const { socket, heard, ended } = await byHand(server.port);
    socket.write("GET /livez HTTP/1.1\r\nhost: x\r\nx-slow: ");
    await ended;
    expect(heard()).toContain("408 Request Timeout");
  });

  it("are refused with headers that are too large", async () => {
    const { server } = await served([layer(memory({ runtime }))], { listen: { headerBytesMax: 1_024 } });
    const { socket, heard, ended } = await byHand(server.port);
    socket.write(`GET /livez HTTP/1.1\r\nhost: x\r\nx-large: ${"x".repeat(4_000)}\r\n\r\n`);
    await ended;
    expect(heard()).toContain("431 Request Header Fields Too Large");
  });

  it("get no connection beyond the limit", async () => {
    const { server } = await served([layer(memory({ runtime }))], { listen: { connectionsMax: 1 } });
    const first = await byHand(server.port);
    const second = await byHand(server.port);
    await second.ended;
    expect(second.heard()).toBe("");
    first.socket.write("GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    await first.ended;
    expect(first.heard()).toContain("200 OK");
  });

  it("are closed when they are silent for too long", async () => {
    const { server } = await served([layer(memory({ runtime }))], { listen: { silentMs: 50, keepAliveMs: 50 } });
    const { ended } = await byHand(server.port);
    await ended;
  });

  it("that leave a feed leave nothing behind", async () => {
    const { server } = await served([layer(memory({ runtime }))]);
    const leave = new AbortController();
    const headers = { accept: "text/event-stream" };
    const feed = await fetch(`${server.url}/v1/changes`, { headers, signal: leave.signal });
    await feed.body?.getReader().read();
    const open = async () => /feeds_open (\d+)/.exec(await (await fetch(`${server.url}/metrics`)).text())?.[1];
    expect(await open()).toBe("1");
    leave.abort();
    while ((await open()) !== "0");
  });

  it("that break off in the middle of a value store nothing of it", async () => {
    const { server, chain } = await served([layer(memory({ runtime }))]);
    const { socket, ended } = await byHand(server.port);
    socket.write("PUT /v1/kv/k HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\n01234");
    const other = await fetch(`${server.url}/v1/kv/k`);
    expect(other.status).toBe(404);
    socket.destroy();
    await ended;
    await server.stop(1_000);
    expect((await chain.read(["k"]))[0]?.entry).toBeUndefined();
  });
});

describe("the door", () => {
  const tokens = tokenDoor(
    readTokens("ada sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b read,write", "t"),
  );

  it("opens to the store's token, from the URL or an option, and no message has it", async () => {
    const { server } = await served([layer(memory({ runtime }))], { node: { authorise: tokens } });
    const { host } = new URL(server.url);
    for (const [url, token] of [
      [`http://secret@${host}/`, undefined],
      [`http://ada:secret@${host}`, undefined],
      [server.url, "secret"],
    ] as const) {
      const store = await http(url, { runtime, token });
      open.push(store);
      expect(await store.read(["k"])).toHaveLength(1);
    }
    const refused = await http(`http://open-sesame@${host}/`, { runtime }).catch((error: unknown) => error);
    expect(refused).toMatchObject({ code: "UNAUTHORISED", retryable: false });
    expect(String(refused)).not.toContain("open-sesame");
    await expect(http(`http://one@${host}/`, { runtime, token: "two" })).rejects.toMatchObject({ code: "INVALID" });
  });

  it("is of TLS where a certificate is given", async () => {
    const folder = await folderFor("tls");
    open.push({ close: () => rm(folder, { recursive: true }) });
    const { ca, serverCert, serverKey } = makeCertificates(folder);
    const [cert, key, authority] = await Promise.all([serverCert, serverKey, ca].map((file) => readFile(file, "utf8")));
    if (cert === undefined || key === undefined) throw new Error("no certificate was made");
    const { server } = await served([layer(memory({ runtime }))], { listen: { tls: { cert, key } } });
    expect(server.url).toMatch(/^https:/);
    const answer = tlsRequest(`${server.url}/livez`, { ca: authority, agent: false });
    answer.end();
    const [response] = (await once(answer, "response")) as [{ statusCode: number; resume(): void }];
    response.resume();
    expect(response.statusCode).toBe(200);
    await expect(http(server.url, { runtime, helloMs: 500 }).then((store) => store.read(["k"]))).rejects.toMatchObject({
      code: "UNAVAILABLE",
    });
    await expect(
      served([layer(memory({ runtime }))], { listen: { tls: { cert: "x", key: "y" } } }),
    ).rejects.toMatchObject({
      code: "INVALID",
    });
  });

  it("says what stands in its way", async () => {
    const { server } = await served([layer(memory({ runtime }))]);
    await expect(served([layer(memory({ runtime }))], { listen: { port: server.port } })).rejects.toMatchObject({
      code: "UNAVAILABLE",
      message: expect.stringContaining("EADDRINUSE"),
    });
  });
});

describe("a node that is not there", () => {
  // Mutation: opening waits for the node.
  it("can be opened all the same, and is used once it is", async () => {
    const first = await overMemory();
    const { port } = first.server;
    await first.close();
    const told: string[] = [];
    const store = await http(`http://127.0.0.1:${port}/`, {
      runtime,
      helloMs: 500,
      onReport: (what) => void told.push(what),
    });
    open.push(store);
    expect(told).toHaveLength(1);
    await expect(store.read(["k"])).rejects.toMatchObject({ code: "UNAVAILABLE", retryable: true });
    await served([layer(memory({ runtime }))], { node: { name: "late" }, listen: { port } });
    expect(await store.read(["k"])).toMatchObject([{ entry: undefined, complete: true }]);
    while (store.below() === undefined) await new Promise<void>((next) => setImmediate(next));
    expect(store.below()?.node).toBe("late");
  });

  it("is not taken for one when something else answers", async () => {
    const { server } = await served([layer(memory({ runtime }))]);
    const store = await http(`${server.url}/elsewhere/`, { runtime });
    open.push(store);
    await expect(store.read(["k"])).rejects.toMatchObject({ code: "UNAVAILABLE", what: "what answers is not a node" });
  });

  it("whose connection was closed while it was idle is asked again at once", async () => {
    const own = await served([layer(memory({ runtime }))], { listen: { keepAliveMs: 1 } });
    const store = await storeOf(own);
    open.push(store);
    for (let i = 0; i < 20; i++) {
      expect(await store.read(["k"])).toHaveLength(1);
      for (let turn = 0; turn < i; turn++) await new Promise<void>((next) => setImmediate(next));
    }
  });
});
