import { createServer, connect } from "node:net";
import type { AddressInfo, Socket } from "node:net";

/** A TCP proxy on loopback on which the network goes wrong when a test says so. */
export interface Proxy {
  readonly port: number;
  /** Resets every connection. New ones work. */
  cut(): void;
  /** From now on no byte passes in either direction; connections stay open. */
  hold(): void;
  /** Lets through what was held, and everything after it. */
  release(): void;
  /** From now on what clients send arrives, and what the server answers does not. */
  swallowAnswers(): void;
  /** Resets every connection as soon as so many bytes more have gone from clients to the server. */
  cutAfter(bytes: number): void;
  /** Resolves when the server has answered something that was swallowed or held. */
  answered(): Promise<void>;
  /** How many connections clients have open. */
  connections(): number;
  close(): Promise<void>;
}

export function proxy(targetPort: number): Promise<Proxy> {
  const pairs = new Set<readonly [client: Socket, server: Socket]>();
  const told: (() => void)[] = [];
  let held: (() => void)[] | undefined;
  let swallowing = false;
  let left = Infinity;

  const pass = (to: Socket, chunk: Buffer) => {
    if (held === undefined) to.write(chunk);
    else held.push(() => to.write(chunk));
  };
  const cut = () => {
    for (const pair of pairs) for (const socket of pair) socket.resetAndDestroy();
    held = undefined;
    swallowing = false;
    left = Infinity;
  };
  const listener = createServer((client) => {
    const server = connect(targetPort, "127.0.0.1");
    const pair = [client, server] as const;
    pairs.add(pair);
    client.on("data", (chunk: Buffer) => {
      if (chunk.length >= left) {
        server.write(chunk.subarray(0, left));
        return cut();
      }
      left -= chunk.length;
      pass(server, chunk);
    });
    server.on("data", (chunk: Buffer) => {
      if (swallowing || held !== undefined) for (const tell of told.splice(0)) tell();
      if (!swallowing) pass(client, chunk);
    });
    for (const [from, to] of [pair, pair.toReversed() as unknown as typeof pair]) {
      from.on("error", () => to.destroy());
      from.on("close", () => {
        pairs.delete(pair);
        to.destroy();
      });
    }
  });
  const made: Omit<Proxy, "port"> = {
    cut,
    hold() {
      held ??= [];
    },
    release() {
      const waiting = held ?? [];
      held = undefined;
      swallowing = false;
      for (const send of waiting) send();
    },
    swallowAnswers() {
      swallowing = true;
    },
    cutAfter(bytes) {
      left = bytes;
    },
    answered: () => new Promise((resolve) => told.push(resolve)),
    connections: () => pairs.size,
    close: () =>
      new Promise((resolve) => {
        listener.close(() => resolve());
        cut();
      }),
  };
  return new Promise((resolve, reject) => {
    listener.once("error", reject);
    listener.listen(0, "127.0.0.1", () => resolve({ ...made, port: (listener.address() as AddressInfo).port }));
  });
}
