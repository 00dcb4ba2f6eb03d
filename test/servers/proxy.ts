import { connect, createServer } from "node:net";
import type { Socket } from "node:net";
import { systemRuntime } from "../../src/system.ts";

/**
 * A TCP proxy on loopback on which a connection goes wrong, whatever is spoken over it. A mode lasts until the next one;
 * connections that lost bytes should be `cut` before things go well again.
 */
export interface Proxy {
  readonly port: number;
  /** `host:port`. */
  readonly endpoint: string;
  /** Connections of clients that are open now, that were ever made, and that were open at once at most. */
  readonly open: number;
  readonly made: number;
  readonly most: number;
  mode(mode: ProxyMode): void;
  /** What comes back on connections that asked for this vanishes, and nothing else says so; undefined: no more. */
  swallow(asked: string | undefined): void;
  /** Everything that passes from now on comes so many milliseconds late, in its order. */
  delay(ms: number): void;
  /** Resets every connection now. What was held or delayed on them is lost. */
  cut(): void;
  /** Resets the connection over which the n-th byte of requests from now on passes, once, right behind that byte. */
  cutAfter(requestBytes: number): Promise<void>;
  /** Resolves when the server has answered something that does not get through. */
  answered(): Promise<void>;
  /** Resolves when no client is connected. */
  idle(): Promise<void>;
  close(): Promise<void>;
}

/**
 * "pass": as if it were not there. "hang": nothing goes through in either direction, and goes on with the next mode.
 * "lose answers": requests arrive, answers vanish. "refuse": new connections are closed at once.
 */
export type ProxyMode = "pass" | "hang" | "lose answers" | "refuse";

interface Pair {
  readonly client: Socket;
  readonly server: Socket;
  readonly lanes: readonly Lane[];
}

/** One direction of one connection: bytes leave in the order in which they came. */
interface Lane {
  push(bytes: Buffer): void;
  /** Sends what is due, unless it is held. */
  flow(): void;
}

/** How much of what a connection asked last is looked at. */
const ASKED_CHARACTERS_MAX = 4096;

/** @param target `host:port`, or a port of this machine. */
export async function startProxy(target: string | number): Promise<Proxy> {
  const [, host = "127.0.0.1", port = ""] = /^(?:(.*):)?(\d+)$/.exec(String(target)) ?? [];
  const pairs = new Set<Pair>();
  const idle: (() => void)[] = [];
  const answered: (() => void)[] = [];
  let made = 0;
  let most = 0;
  let mode: ProxyMode = "pass";
  let delayMs = 0;
  let swallowed: string | undefined;
  let bomb: { left: number; readonly gone: () => void } | undefined;

  const forget = (pair: Pair) => {
    if (pairs.delete(pair) && pairs.size === 0) for (const resolve of idle.splice(0)) resolve();
  };
  const reset = (pair: Pair) => {
    pair.client.resetAndDestroy();
    pair.server.resetAndDestroy();
    forget(pair);
  };
  const laneTo = (to: Socket): Lane => {
    const waiting: { readonly bytes: Buffer; readonly at: number }[] = [];
    let isTimed = false;
    const flow = () => {
      const now = systemRuntime.monotonic();
      const count = mode === "hang" ? 0 : waiting.findIndex(({ at }) => at > now);
      for (const { bytes } of waiting.splice(0, count < 0 ? waiting.length : count)) if (!to.destroyed) to.write(bytes);
      const [next] = waiting;
      if (mode === "hang" || next === undefined || isTimed) return;
      isTimed = true;
      systemRuntime.timer(next.at - now, () => {
        isTimed = false;
        flow();
      });
    };
    return {
      push(bytes) {
        waiting.push({ bytes, at: delayMs === 0 ? 0 : systemRuntime.monotonic() + delayMs });
        flow();
      },
      flow,
    };
  };
  const listener = createServer((client) => {
    if (mode === "refuse") {
      client.resetAndDestroy();
      return;
    }
    const server = connect(Number(port), host);
    const [up, down] = [laneTo(server), laneTo(client)];
    const pair: Pair = { client, server, lanes: [up, down] };
    pairs.add(pair);
    made++;
    most = Math.max(most, pairs.size);
    const gone = () => {
      client.destroy();
      server.destroy();
      forget(pair);
    };
    for (const socket of [client, server]) {
      socket.setNoDelay(true);
      socket.on("error", gone);
      socket.on("close", gone);
    }
    let asked = "";
    client.on("data", (bytes: Buffer) => {
      asked = (asked + bytes.toString("latin1")).slice(-ASKED_CHARACTERS_MAX);
      if (bomb === undefined || bytes.length < bomb.left) {
        if (bomb !== undefined) bomb.left -= bytes.length;
        up.push(bytes);
        return;
      }
      const { left, gone: told } = bomb;
      bomb = undefined;
      server.write(bytes.subarray(0, left), () => {
        reset(pair);
        told();
      });
    });
    server.on("data", (bytes: Buffer) => {
      if (mode !== "pass") for (const tell of answered.splice(0)) tell();
      const isSwallowed = swallowed !== undefined && asked.includes(swallowed);
      if (mode !== "lose answers" && !isSwallowed) down.push(bytes);
    });
  });
  await new Promise<void>((resolve, reject) => {
    listener.once("error", reject);
    listener.listen(0, "127.0.0.1", resolve);
  });
  const address = listener.address();
  if (address === null || typeof address === "string") throw new Error("the proxy has no port");
  const cut = () => {
    for (const pair of pairs) reset(pair);
  };
  return {
    port: address.port,
    endpoint: `127.0.0.1:${address.port}`,
    get open() {
      return pairs.size;
    },
    get made() {
      return made;
    },
    get most() {
      return most;
    },
    mode(next) {
      mode = next;
      for (const { lanes } of pairs) for (const lane of lanes) lane.flow();
    },
    swallow(what) {
      swallowed = what;
    },
    delay(ms) {
      delayMs = ms;
    },
    cut,
    cutAfter: (requestBytes) =>
      new Promise((gone) => {
        bomb = { left: requestBytes, gone };
      }),
    answered: () => new Promise((resolve) => answered.push(resolve)),
    idle: () => (pairs.size === 0 ? Promise.resolve() : new Promise((resolve) => idle.push(resolve))),
    async close() {
      cut();
      await new Promise((resolve) => listener.close(resolve));
    },
  };
}
