import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { passToGit } from "./git-http.ts";

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
  const requests: string[] = [];
  const handle = (request: IncomingMessage, response: ServerResponse) => {
    const { pathname, search } = new URL(request.url ?? "/", "http://localhost");
    requests.push(`${request.method} ${pathname}${search}`);
    if (server.cut(request)) return request.socket.destroy();
    const loses = server.lose(request);
    return passToGit(folder, request, response, loses);
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
