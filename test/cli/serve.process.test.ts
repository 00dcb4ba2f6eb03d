import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { build, start } from "./built.ts";
import type { Built } from "./built.ts";

let built: Built;
let cwd: string;
beforeAll(async () => {
  built = await build();
  cwd = await mkdtemp(join(tmpdir(), "microsync-serve-process-"));
});
afterAll(async () => {
  await built.remove();
  await rm(cwd, { recursive: true, force: true });
});

const env = { MICROSYNC_CHAIN: "memory: lmdb:./data", MICROSYNC_JOURNAL: "./journal" };

async function serving() {
  const { child, finished } = start([built.main, "serve", "--listen", "0", "--name", "home"], { cwd, env });
  const [line] = (await once(child.stdout, "data")) as [Buffer];
  return { child, finished, url: line.toString("utf8").trim() };
}

describe("the node as a process", () => {
  // Mutation: the server closed before the request is answered.
  it.each(["SIGTERM", "SIGINT"] as const)(
    "at %s answers what it was asked, drains its journal, and ends with 0",
    async (signal) => {
      const { child, finished, url } = await serving();
      const { port } = new URL(url);
      // Half of a request: it is under way when the signal comes, and its rest is sent after that.
      const socket = connect(Number(port), "127.0.0.1");
      let heard = "";
      socket.setEncoding("utf8").on("data", (data: string) => {
        heard += data;
      });
      const ended = once(socket, "close");
      socket.write(`PUT /v1/kv/k HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 10\r\n\r\n`);
      while (!heard.includes("100 Continue")) await once(socket, "data");
      socket.write("01234");
      child.kill(signal);
      // The node takes no more connections: it has heard the signal.
      for (;;) {
        const other = connect(Number(port), "127.0.0.1");
        const refused = await once(other, "connect").then(
          () => false,
          () => true,
        );
        other.destroy();
        if (refused) break;
      }
      socket.write("56789");
      await ended;
      expect(heard).toContain("HTTP/1.1 200 OK");
      expect(heard.toLowerCase()).toContain("connection: close");
      expect(await finished).toEqual({
        status: 0,
        out: `${url}\n`,
        err: "microsync: home answers for chain(memory,lmdb)\n",
      });
      const { finished: read } = start([built.main, "get", "k"], { cwd, env });
      expect(await read).toMatchObject({ status: 0, out: "0123456789", err: "" });
    },
  );
});
