import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createServer } from "node:tls";
import type { TLSSocket } from "node:tls";
import { afterEach, describe, expect, it } from "vitest";
import { SyncError } from "../../src/error.ts";
import { etcd } from "../../src/stores/etcd.ts";
import { s3 } from "../../src/stores/s3.ts";
import { systemRuntime as runtime } from "../../src/system.ts";
import { makeCertificates } from "../servers/certificates.ts";

/**
 * A certificate of an authority that is trusted, but for another host, is refused before anything is said; for SQL see
 * "verify-full and another name" in sql.access.test.ts, on a real server.
 * Mutations: `checkServerIdentity: () => undefined` where the connections of a store are made.
 */
const ends: (() => void)[] = [];
afterEach(() => {
  for (const end of ends.splice(0)) end();
});

/** A TLS server that hangs up on whoever has said something to it. */
async function listener(names: string) {
  const folder = mkdtempSync(join(tmpdir(), "microsync-tls-"));
  const { ca, serverCert, serverKey } = makeCertificates(folder, names);
  const sockets = new Set<TLSSocket>();
  let heard = 0;
  let onHeard = () => {};
  const spokenTo = new Promise<void>((resolve) => {
    onHeard = resolve;
  });
  const certificate = { key: readFileSync(serverKey), cert: readFileSync(serverCert) };
  const server = createServer({ ...certificate, ALPNProtocols: ["h2", "http/1.1"] }, (socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("data", (bytes) => {
      heard += bytes.length;
      onHeard();
      socket.destroy();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  ends.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
    rmSync(folder, { recursive: true });
  });
  return { ca, port: (server.address() as AddressInfo).port, spokenTo, heard: () => heard };
}

const stores = {
  async etcd(port: number, ca: string): Promise<unknown> {
    const patience = { attemptMs: 20_000, timeoutMs: 25_000 };
    const store = await etcd(`etcds://127.0.0.1:${port}/p`, { runtime, env: {}, ca, ...patience });
    try {
      return await store.read(["k"]);
    } finally {
      await store.close();
    }
  },
  async s3(port: number, ca: string): Promise<unknown> {
    return s3({
      runtime,
      bucket: "data",
      endpoint: `https://127.0.0.1:${port}`,
      region: "us-east-1",
      credentials: { accessKeyId: "AKX", secretAccessKey: "SKX" },
      ca: readFileSync(ca, "utf8"),
      attempts: 1,
    });
  },
};

describe.each(["etcd", "s3"] as const)("the certificate that %s is shown", (name) => {
  const failure = async (port: number, ca: string): Promise<SyncError> => {
    const error: unknown = await stores[name](port, ca).catch((caught: unknown) => caught);
    if (error instanceof SyncError) return error;
    throw new Error(`no SyncError: ${String(error)}`);
  };

  it("is taken for the host that was asked for", async () => {
    const { ca, port, spokenTo } = await listener("IP:127.0.0.1");
    const asking = failure(port, ca);
    await spokenTo;
    await asking;
  });

  it("is refused for another host, and nothing is said", async () => {
    const { ca, port, heard } = await listener("IP:127.0.0.2,DNS:elsewhere.example");
    const error = await failure(port, ca);
    expect(error.code).toBe(name === "s3" ? "UNAUTHORISED" : "UNAVAILABLE");
    expect(error.message).toMatch(/certificate/i);
    expect(heard()).toBe(0);
  });
});
