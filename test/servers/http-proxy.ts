import { Agent, createServer, request } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";

/**
 * What happens to a request: it passes; its connection is reset before it is sent on; it is sent on and the answer is lost,
 * or cut in the middle of its body; nobody ever answers; it waits for a promise; or this is the answer.
 */
export type Fate = "pass" | "reset" | "lose" | "cut" | "hang" | Promise<void> | Answered;

export interface Answered {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
}

export interface Passing {
  readonly method: string;
  /** Path and query, as sent. */
  readonly path: string;
  readonly headers: IncomingMessage["headers"];
}

/** An HTTP proxy in front of a server, on which requests go wrong as told. */
export interface Proxy {
  readonly url: string;
  /** Every request so far, as `METHOD /path`. */
  readonly seen: string[];
  /** Decides what happens to each request from now on. */
  fates(decide: (passing: Passing) => Fate): void;
  /** Connections that are open now. */
  readonly open: number;
  /** Connections there ever were. */
  readonly opened: number;
  /** Resolves when no connection is open. */
  idle(): Promise<void>;
  close(): Promise<void>;
}

export async function proxy(target: string): Promise<Proxy> {
  const { hostname, port } = new URL(target);
  const agent = new Agent({ keepAlive: true });
  const sockets = new Set<Socket>();
  const waiting: (() => void)[] = [];
  const seen: string[] = [];
  let opened = 0;
  let decide: (passing: Passing) => Fate = () => "pass";

  const forward = (from: IncomingMessage, to: ServerResponse, fate: "pass" | "lose" | "cut", body: Buffer) => {
    const { method, url: path, rawHeaders } = from;
    // The signature covers the Host that the client sent.
    const onward = request({ host: hostname, port, method, path, agent, headers: rawHeaders }, (answer) => {
      const chunks: Buffer[] = [];
      answer.on("data", (chunk: Buffer) => chunks.push(chunk));
      answer.on("end", () => {
        if (fate === "lose") return to.destroy();
        const whole = Buffer.concat(chunks);
        to.writeHead(answer.statusCode ?? 500, answer.rawHeaders);
        if (fate === "pass") return to.end(whole);
        to.write(whole.subarray(0, Math.floor(whole.length / 2)), () => to.destroy());
      });
      answer.on("error", () => to.destroy());
    });
    onward.on("error", () => to.destroy());
    onward.end(body);
  };

  const server = createServer((from, to) => {
    const chunks: Buffer[] = [];
    from.on("error", () => {});
    from.on("data", (chunk: Buffer) => chunks.push(chunk));
    from.on("end", () => {
      const { method = "GET", url: path = "/", headers } = from;
      seen.push(`${method} ${path}`);
      const fate = decide({ method, path, headers });
      const body = Buffer.concat(chunks);
      if (fate instanceof Promise) fate.then(() => forward(from, to, "pass", body)).catch(() => to.destroy());
      else if (typeof fate === "object") to.writeHead(fate.status, fate.headers).end(fate.body);
      else if (fate === "reset") from.socket.resetAndDestroy();
      else if (fate !== "hang") forward(from, to, fate, body);
    });
  });
  server.on("connection", (socket) => {
    opened++;
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => {
      sockets.delete(socket);
      if (sockets.size === 0) for (const wake of waiting.splice(0)) wake();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    seen,
    fates(next) {
      decide = next;
    },
    get open() {
      return sockets.size;
    },
    get opened() {
      return opened;
    },
    idle: () => (sockets.size === 0 ? Promise.resolve() : new Promise((resolve) => waiting.push(resolve))),
    async close() {
      agent.destroy();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
