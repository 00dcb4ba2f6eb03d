import { createHash } from "node:crypto";
import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** What an LFS server holds and was asked, and what goes wrong with it. */
export interface LfsServer {
  /** Below it is `/objects/batch`. */
  readonly url: string;
  readonly objects: Map<string, Buffer>;
  /** `METHOD what`, with what one of batch, object, verify. */
  readonly requests: string[];
  /** The most bytes of request bodies that were held at one time would be these pieces. */
  readonly pieces: number[];
  /** The header that every request must carry; undefined: none. */
  authorization: string | undefined;
  /** A status in place of the answer, or the connection is cut. */
  fault: (what: string) => number | "cut" | undefined;
  close(): Promise<void>;
}

/** The batch API, basic transfers and verification of Git LFS, in memory. Locks are not there. */
export async function lfsServer(): Promise<LfsServer> {
  const objects = new Map<string, Buffer>();
  const requests: string[] = [];
  const pieces: number[] = [];
  const verified = new Set<string>();

  const answer = (request: IncomingMessage, body: Buffer, response: ServerResponse): void => {
    const { pathname } = new URL(request.url ?? "/", "http://localhost");
    const oid = /\/o\/([0-9a-f]{64})$/.exec(pathname)?.[1];
    const what = oid !== undefined ? "object" : (pathname.split("/").at(-1) ?? "");
    requests.push(`${request.method} ${what}`);
    const say = (status: number, value?: unknown) => {
      response.writeHead(status, { "content-type": "application/vnd.git-lfs+json" });
      response.end(value === undefined ? undefined : JSON.stringify(value));
    };
    const fault = server.fault(what);
    if (fault === "cut") return void request.socket.destroy();
    if (fault !== undefined) return say(fault, { message: "as the test wants" });
    if (server.authorization !== undefined && request.headers.authorization !== server.authorization) {
      response.setHeader("lfs-authenticate", 'Basic realm="test"');
      return say(401, { message: "Credentials needed" });
    }
    if (oid !== undefined && request.method === "PUT") {
      if (createHash("sha256").update(body).digest("hex") !== oid) return say(422, { message: "other bytes" });
      objects.set(oid, body);
      return say(200);
    }
    if (oid !== undefined) {
      const bytes = objects.get(oid);
      if (bytes === undefined) return say(404, { message: "Not Found" });
      response.writeHead(200, { "content-type": "application/octet-stream", "content-length": bytes.length });
      return void response.end(bytes);
    }
    if (what === "verify" && !pathname.includes("/locks/")) {
      const { oid: id, size } = JSON.parse(body.toString()) as { oid: string; size: number };
      if (objects.get(id)?.length !== size) return say(404, { message: "not there" });
      verified.add(id);
      return say(200);
    }
    if (what === "batch") return say(200, { transfer: "basic", objects: batch(JSON.parse(body.toString()) as Batch) });
    return say(404, { message: "Not Found" });
  };

  const batch = ({ operation, objects: asked }: Batch) =>
    asked.map(({ oid, size }) => {
      const header = server.authorization === undefined ? {} : { Authorization: server.authorization };
      const action = { href: `${server.url}/o/${oid}`, header };
      const has = objects.has(oid);
      if (operation === "download") {
        return has
          ? { oid, size, authenticated: true, actions: { download: action } }
          : { oid, size, error: { code: 404, message: "Object does not exist" } };
      }
      const verify = { href: `${server.url}/verify`, header };
      return has ? { oid, size } : { oid, size, authenticated: true, actions: { upload: action, verify } };
    });

  const http = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => {
      pieces.push(chunk.length);
      chunks.push(chunk);
    });
    request.on("end", () => answer(request, Buffer.concat(chunks), response));
  });
  await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
  const server: LfsServer = {
    url: `http://127.0.0.1:${(http.address() as AddressInfo).port}/octo/store.git/info/lfs`,
    objects,
    requests,
    pieces,
    authorization: undefined,
    fault: () => undefined,
    close: () =>
      new Promise((resolve) => {
        http.close(() => resolve());
        http.closeAllConnections();
      }),
  };
  return server;
}

interface Batch {
  readonly operation: "upload" | "download";
  readonly objects: readonly { readonly oid: string; readonly size: number }[];
}
