import { execFileSync, spawn } from "node:child_process";
import type { IncomingMessage, ServerResponse } from "node:http";
import { join } from "node:path";

let backend: string | undefined;

/** Hands a request to git's own smart HTTP server, which is a CGI program. `loses`: it takes effect, the answer is cut. */
export function passToGit(folder: string, request: IncomingMessage, response: ServerResponse, loses = false): void {
  backend ??= join(execFileSync("git", ["--exec-path"]).toString("utf8").trim(), "git-http-backend");
  const { pathname, search } = new URL(request.url ?? "/", "http://localhost");
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
      ...(request.headers["content-length"] === undefined ? {} : { CONTENT_LENGTH: request.headers["content-length"] }),
    },
  });
  request.pipe(child.stdin);
  // Cut off in the middle of a body it would wait for the rest, and use up a processor with that.
  request.on("close", () => {
    if (!request.complete) child.kill();
  });
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
}
