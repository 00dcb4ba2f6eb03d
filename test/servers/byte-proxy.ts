import { connect, createServer } from "node:net";
import type { Socket } from "node:net";
import { systemRuntime } from "../../src/system.ts";

/**
 * A TCP proxy on loopback on which a connection goes wrong, whatever is spoken over it. Modes last until the next call of
 * `mode`; connections that lost bytes should be `cut` before things go well again.
 */
export interface Proxy {
  /** `host:port`. */
  readonly endpoint: string;
  /** Connections of clients that are open now, and that were ever made. */
  readonly open: number;
  readonly made: number;
  /**
   * "pass": as if it were not there. "hang": nothing goes through in either direction, nothing is lost. "lose answers":
   * requests arrive, answers vanish. "refuse": new connections are closed at once.
   */
  mode(mode: ProxyMode): void;
  /** Everything that passes comes so many milliseconds late. */
  delay(ms: number): void;
  /** Resets every connection now. */
  cut(): void;
  /** Resets the connection over which the n-th byte of requests from now on passes, once, right behind that byte. */
  cutAfter(requestBytes: number): void;
  /** Resolves when no client is connected. */
  idle(): Promise<void>;
  close(): Promise<void>;
}

export type ProxyMode = "pass" | "hang" | "lose answers" | "refuse";

interface Pair {
  readonly client: Socket;
  readonly server: Socket;
}

/** @param target `host:port` */
export async function startProxy(target: string): Promise<Proxy> {
  const [, host = "", port = ""] = /^(.*):(\d+)$/.exec(target) ?? [];
  const pairs = new Set<Pair>();
  const held: (() => void)[] = [];
  const waiting: (() => void)[] = [];
  let made = 0;
  let mode: ProxyMode = "pass";
  let delayMs = 0;
  let left = Infinity;

  const reset = (pair: Pair) => {
    pair.client.resetAndDestroy();
    pair.server.resetAndDestroy();
  };
  const pass = (to: Socket, bytes: Buffer) => {
    const send = () => {
      if (!to.destroyed) to.write(bytes);
    };
    const later = () => {
      if (delayMs === 0) send();
      else systemRuntime.timer(delayMs, send);
    };
    if (mode === "hang") held.push(later);
    else later();
  };
  const listener = createServer((client) => {
    if (mode === "refuse") {
      client.resetAndDestroy();
      return;
    }
    made++;
    const pair: Pair = { client, server: connect(Number(port), host) };
    pairs.add(pair);
    const gone = () => {
      pairs.delete(pair);
      client.destroy();
      pair.server.destroy();
      if (pairs.size === 0) for (const resolve of waiting.splice(0)) resolve();
    };
    for (const socket of [client, pair.server]) {
      socket.setNoDelay(true);
      socket.on("error", gone);
      socket.on("close", gone);
    }
    client.on("data", (bytes: Buffer) => {
      if (bytes.length < left) {
        left -= bytes.length;
        pass(pair.server, bytes);
        return;
      }
      const last = bytes.subarray(0, left);
      left = Infinity;
      pair.server.write(last, () => reset(pair));
    });
    pair.server.on("data", (bytes: Buffer) => {
      if (mode !== "lose answers") pass(client, bytes);
    });
  });
  await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
  const address = listener.address();
  if (address === null || typeof address === "string") throw new Error("the proxy has no port");
  return {
    endpoint: `127.0.0.1:${address.port}`,
    get open() {
      return pairs.size;
    },
    get made() {
      return made;
    },
    mode(next) {
      mode = next;
      if (mode !== "hang") for (const go of held.splice(0)) go();
    },
    delay(ms) {
      delayMs = ms;
    },
    cut() {
      for (const pair of pairs) reset(pair);
    },
    cutAfter(requestBytes) {
      left = requestBytes;
    },
    idle: () => (pairs.size === 0 ? Promise.resolve() : new Promise((resolve) => waiting.push(resolve))),
    async close() {
      for (const pair of pairs) reset(pair);
      await new Promise((resolve) => listener.close(resolve));
    },
  };
}
