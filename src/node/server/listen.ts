import { createServer } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { getRequestListener } from "@hono/node-server";
import { SyncError } from "../../error.ts";
import type { SyncNode } from "../node.ts";
import { directly } from "./direct.ts";

export interface ListenOptions {
  /** Default "127.0.0.1". */
  readonly host?: string | undefined;
  /** 0: any that is free. Default 7420. */
  readonly port?: number | undefined;
  /** Certificate and key in PEM. Default: none, plain HTTP. */
  readonly tls?: { readonly cert: string | Uint8Array; readonly key: string | Uint8Array } | undefined;
  /** Default 1,000. More are closed at once. */
  readonly connectionsMax?: number | undefined;
  /** How many bytes the headers of a request have at most. Default 16 KiB. */
  readonly headerBytesMax?: number | undefined;
  /** How long a client may take to send its headers, in milliseconds. Default 10,000. */
  readonly headersMs?: number | undefined;
  /** How long it may take to send the whole request. Default 120,000. */
  readonly requestMs?: number | undefined;
  /** How long a connection may be silent in the middle of an answer or a request. Default 120,000. */
  readonly silentMs?: number | undefined;
  /** How long a connection is kept without a request. Default 65,000. */
  readonly keepAliveMs?: number | undefined;
}

export interface Listening {
  /** Without a path: `http://127.0.0.1:7420`. */
  readonly url: string;
  readonly port: number;
  /**
   * Takes no more connections, ends the feeds, and resolves when every request under way has been answered, or after so
   * many milliseconds, when what is left is cut. The chain is left open.
   * @returns how many connections were cut.
   */
  stop(limitMs: number): Promise<number>;
}

export const DEFAULT_PORT = 7420;
const CONNECTIONS_MAX = 1_000;
const HEADER_BYTES_MAX = 16 * 1024;

/** @throws SyncError UNAVAILABLE when the address cannot be had, INVALID for a certificate that is none. */
export async function listen(node: SyncNode, options: ListenOptions = {}): Promise<Listening> {
  const { host = "127.0.0.1", port = DEFAULT_PORT, tls, keepAliveMs = 65_000 } = options;
  const listener = getRequestListener((request) => node.fetch(request), { overrideGlobalObjects: false });
  const answerDirectly = directly(node);
  const answer = (incoming: IncomingMessage, outgoing: ServerResponse) => {
    if (answerDirectly(incoming, outgoing)) return;
    // An answer that had begun before the node was told to stop did not say that it is the last of its connection.
    outgoing.once("close", () => {
      if (node.stopping) node.chain.runtime.timer(0, () => server.closeIdleConnections());
    });
    void listener(incoming, outgoing);
  };
  const settings = {
    maxHeaderSize: options.headerBytesMax ?? HEADER_BYTES_MAX,
    headersTimeout: options.headersMs ?? 10_000,
    requestTimeout: options.requestMs ?? 120_000,
    keepAliveTimeout: keepAliveMs,
    connectionsCheckingInterval: 1_000,
  };
  let server: Server;
  try {
    server =
      tls === undefined ? createServer(settings, answer) : createTlsServer({ ...settings, ...keyPair(tls) }, answer);
  } catch (cause) {
    throw new SyncError("INVALID", "the certificate or its key cannot be used", { cause, cure: "give both in PEM" });
  }
  server.maxConnections = options.connectionsMax ?? CONNECTIONS_MAX;
  server.setTimeout(options.silentMs ?? 120_000);
  let connections = 0;
  server.on(
    tls === undefined ? "connection" : "secureConnection",
    (socket: { once(event: "close", fn: () => void): void }) => {
      connections++;
      socket.once("close", () => connections--);
    },
  );
  await begin(server, host, port);
  const { port: own } = server.address() as AddressInfo;
  const name = host.includes(":") ? `[${host}]` : host;
  return {
    url: `${tls === undefined ? "http" : "https"}://${name}:${own}`,
    port: own,
    stop(limitMs) {
      const { runtime } = node.chain;
      node.stop();
      return new Promise<number>((resolve) => {
        let cut = 0;
        const timer = runtime.timer(limitMs, () => {
          cut = connections;
          server.closeAllConnections();
        });
        server.close(() => {
          timer.cancel();
          resolve(cut);
        });
        server.closeIdleConnections();
      });
    },
  };
}

function keyPair({ cert, key }: NonNullable<ListenOptions["tls"]>) {
  const own = (bytes: string | Uint8Array) => (typeof bytes === "string" ? bytes : Buffer.from(bytes));
  return { cert: own(cert), key: own(key) };
}

function begin(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const failed = (error: Error) => {
      const reason = "code" in error ? String(error.code) : error.message;
      const cure =
        reason === "EADDRINUSE" ? "stop what listens there, or choose another port" : "choose another address";
      reject(
        new SyncError("UNAVAILABLE", `cannot listen on ${host} port ${port}: ${reason}`, {
          cause: error,
          cure,
          retryable: false,
        }),
      );
    };
    server.once("error", failed);
    server.listen(port, host, () => {
      server.removeListener("error", failed);
      resolve();
    });
  });
}
