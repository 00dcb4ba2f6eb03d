/**
 * The client of the HTTP race, a process of its own: keep-alive connections that each ask again as soon as they are
 * answered. It writes requests as they go over the wire and reads no more of an answer than its length, since a client
 * that costs more than a server measures itself.
 */
import { connect } from "node:net";
import type { Socket } from "node:net";

export interface Load {
  readonly port: number;
  readonly connections: number;
  /** In all. */
  readonly requests: number;
  /** Asked for one after the other. */
  readonly paths: readonly string[];
  /** An answer whose body has another length ends the race. */
  readonly bodyBytes: number;
}

export interface Loaded {
  readonly ms: number;
  /** Processor time of this process. Close to `ms`, the client was the limit. */
  readonly cpuMs: number;
}

const HEAD_END = Buffer.from("\r\n\r\n");

function run({ port, connections, requests, paths, bodyBytes }: Load): Promise<Loaded> {
  const texts = paths.map((path) => Buffer.from(`GET ${path} HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\n\r\n`));
  const started = performance.now();
  const cpu = process.cpuUsage();
  let [asked, open] = [0, connections];
  return new Promise((resolve, reject) => {
    const ask = (socket: Socket) => {
      if (asked < requests) socket.write(texts[asked++ % texts.length] as Buffer);
      else socket.end();
    };
    const closed = () => {
      if (--open > 0) return;
      const { user, system } = process.cpuUsage(cpu);
      resolve({ ms: performance.now() - started, cpuMs: (user + system) / 1_000 });
    };
    for (let i = 0; i < connections; i++) {
      const socket = connect(port, "127.0.0.1", () => ask(socket));
      socket.setNoDelay(true);
      socket.on("error", reject).on("close", closed);
      let missing = 0;
      let head: Buffer = Buffer.alloc(0);
      socket.on("data", (chunk: Buffer) => {
        if (missing > 0) {
          missing -= chunk.length;
        } else {
          head = head.length === 0 ? chunk : Buffer.concat([head, chunk]);
          const end = head.indexOf(HEAD_END);
          if (end === -1) return;
          const text = head.toString("latin1", 0, end);
          const length = Number(/\r\ncontent-length: (\d+)/i.exec(text)?.[1]);
          if (!text.startsWith("HTTP/1.1 200") || length !== bodyBytes) {
            reject(new Error(`not the answer that was asked for:\n${text}`));
            return;
          }
          missing = length - (head.length - end - HEAD_END.length);
          head = Buffer.alloc(0);
        }
        if (missing === 0) ask(socket);
      });
    }
  });
}

process.on("message", (load: Load) => {
  run(load).then(
    (loaded) => process.send?.(loaded),
    (error: unknown) => {
      throw error;
    },
  );
});
