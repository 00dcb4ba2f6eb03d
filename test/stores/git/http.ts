import { execFileSync, spawn } from "node:child_process";
import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import { join } from "node:path";
import type { AddressInfo } from "node:net";

export interface GitServer {
  /** Ends with a slash; repositories are below it by their path in the folder. */
  readonly url: string;
  /** Requests so far, as `METHOD path`. */
  readonly requests: readonly string[];
  /** Called before each request is passed on; true: the connection is cut instead. */
  cut: (request: IncomingMessage) => boolean;
  /** As cut, but after the request has taken effect: the answer is lost. */
  lose: (request: IncomingMessage) => boolean;
  close(): Promise<void>;
}

/** Git's own smart HTTP server over the repositories of a folder, behind a small CGI bridge on the loopback address. */
export async function gitServer(folder: string): Promise<GitServer> {
  const backend = join(execFileSync("git", ["--exec-path"]).toString("utf8").trim(), "git-http-backend");
  const requests: string[] = [];
  const handle = (request: IncomingMessage, response: ServerResponse) => {
    const { pathname, search } = new URL(request.url ?? "/", "http://localhost");
    requests.push(`${request.method} ${pathname}${search}`);
    if (server.cut(request)) return request.socket.destroy();
    const loses = server.lose(request);
    const child = spawn(backend, [], {
      env: {
        PATH: process.env["PATH"],
        GIT_PROJECT_ROOT: folder,
        GIT_HTTP_EXPORT_ALL: "1",
        PATH_INFO: decodeURIComponent(pathname),
        QUERY_STRING: search.slice(1),
        REQUEST_METHOD: request.method,
        CONTENT_TYPE: request.headers["content-type"],
        HTTP_CONTENT_ENCODING: request.headers["content-encoding"],
        HTTP_GIT_PROTOCOL: request.headers["git-protocol"] as string | undefined,
        ...(request.headers["content-length"] === undefined
          ? {}
          : { CONTENT_LENGTH: request.headers["content-length"] }),
      },
    });
    request.pipe(child.stdin);
    child.stdin.on("error", () => {});
    let head = Buffer.alloc(0);
    let headed = false;
    child.stdout.on("data", (chunk: Buffer) => {
      if (headed) return void response.write(chunk);
      head = Buffer.concat([head, chunk]);
      const end = head.indexOf("\r\n\r\n");
      if (end < 0) return undefined;
      headed = true;
      const fields = head.toString("latin1", 0, end).split("\r\n");
      let status = 200;
      for (const field of fields) {
        const colon = field.indexOf(":");
        const [name, value] = [field.slice(0, colon), field.slice(colon + 1).trim()];
        if (name.toLowerCase() === "status") status = Number.parseInt(value, 10);
        else response.setHeader(name, value);
      }
      if (loses) return undefined;
      response.writeHead(status);
      response.write(head.subarray(end + 4));
      return undefined;
    });
    child.on("close", () => (loses ? request.socket.destroy() : response.end()));
    return undefined;
  };
  const http = createServer(handle);
  await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
  const server: GitServer = {
    url: `http://127.0.0.1:${(http.address() as AddressInfo).port}/`,
    requests,
    cut: () => false,
    lose: () => false,
    close: () =>
      new Promise((resolve) => {
        http.close(() => resolve());
        http.closeAllConnections();
      }),
  };
  return server;
}
