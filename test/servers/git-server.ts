import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { passToGit } from "./git-http.ts";

export interface GitServer {
  /** Ends with a slash; repositories are below it by their path in the folder. */
  readonly url: string;
  /** Requests so far, as `METHOD path`. */
  readonly requests: readonly string[];
  readonly port: number;
  /** Who may come in, as `user:password`; undefined: everybody. */
  user: string | undefined;
  /** Called before each request is passed on; true: the connection is cut instead. */
  cut: (request: IncomingMessage) => boolean;
  /** As cut, but after the request has taken effect: the answer is lost. */
  lose: (request: IncomingMessage) => boolean;
  /** Every connection is cut; `listen` answers on the same port again. */
  close(): Promise<void>;
  listen(): Promise<void>;
}

/** Git's own smart HTTP server over the repositories of a folder, behind a small CGI bridge on the loopback address. */
export async function gitServer(folder: string, port = 0): Promise<GitServer> {
  const requests: string[] = [];
  const handle = (request: IncomingMessage, response: ServerResponse) => {
    const { pathname, search } = new URL(request.url ?? "/", "http://localhost");
    requests.push(`${request.method} ${pathname}${search}`);
    const basic = `Basic ${Buffer.from(server.user ?? "").toString("base64")}`;
    if (server.user !== undefined && request.headers.authorization !== basic) {
      request.resume();
      return response.writeHead(401, { "www-authenticate": 'Basic realm="git"' }).end();
    }
    if (server.cut(request)) return request.socket.destroy();
    const loses = server.lose(request);
    return passToGit(folder, request, response, loses);
  };
  const http = createServer(handle);
  const listen = (on: number) => new Promise<void>((resolve) => http.listen(on, "127.0.0.1", resolve));
  await listen(port);
  const own = (http.address() as AddressInfo).port;
  const server: GitServer = {
    url: `http://127.0.0.1:${own}/`,
    port: own,
    user: undefined,
    listen: () => listen(own),
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
