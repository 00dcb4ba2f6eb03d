import { createHash } from "node:crypto";
import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { join } from "node:path";
import { gitCommand } from "../../src/stores/git/command.ts";
import { commits } from "../../src/stores/git/commits.ts";
import { objects } from "../../src/stores/git/objects.ts";
import { systemRuntime } from "../../src/system.ts";
import { passToGit } from "./git-http.ts";
import { graphql } from "./github-graphql.ts";
import { dataRoutes } from "./github-data.ts";

/** What goes wrong with a request, decided before it is looked at. */
export type Fault =
  /** The connection is cut before anything happened. */
  | "cut"
  /** It takes effect, and the connection is cut instead of the answer. */
  | "lose"
  /** It takes effect, and nothing is ever answered. */
  | "hang"
  | { readonly status: number; readonly headers?: Record<string, string>; readonly body?: unknown };

/** A request as tests count it. */
export interface Told {
  readonly method: string;
  readonly path: string;
  readonly status: number;
  readonly bytes: number;
  readonly authorization: string | undefined;
}

export interface GithubServer {
  /** Of the REST interface; GraphQL is at `/graphql`, git's own HTTP at `/owner/repo.git`. */
  readonly api: string;
  readonly port: number;
  readonly requests: Told[];
  /** Those that are not answered yet. */
  readonly underWay: () => number;
  readonly connections: () => number;
  /** Resolves when no connection is left. */
  idle(): Promise<void>;
  /** Tokens that are taken, by what they may do. */
  readonly tokens: Map<string, "write" | "read">;
  fault: (request: IncomingMessage, body: Buffer) => Fault | undefined;
  /** A request has taken effect, and will never be answered. */
  onHang: () => void;
  /** Without: 404, as from servers that lack it. */
  hasGraphql: boolean;
  /** A recursive tree is cut after so many entries. */
  treeEntriesMax: number;
  /** Makes an empty bare repository; its folder. */
  create(owner: string, repo: string, branch?: string): string;
  /** Answers of one's own to paths that are no repository's. */
  extra: (request: IncomingMessage, body: Buffer, response: ServerResponse) => Promise<boolean>;
  close(): Promise<void>;
  /** Everything is cut, and nobody answers until `restart`. */
  stop(): Promise<void>;
  /** Everything is cut; afterwards, and after what is to happen meanwhile, the same port answers again. */
  restart(meanwhile?: () => Promise<void>): Promise<void>;
}

/** A repository as the routes see it. */
export interface Repo {
  readonly folder: string;
  readonly name: string;
  git(args: readonly string[], input?: string | Buffer): Promise<string>;
  /** As git, but the code and everything said. */
  try(args: readonly string[]): Promise<{ code: number; text: string }>;
  readonly objects: ReturnType<typeof objects>;
  /** One at a time. */
  commit(made: Parameters<ReturnType<typeof commits>["commit"]>[0]): Promise<string>;
  close(): Promise<void>;
}

export interface Reply {
  readonly status: number;
  readonly body?: unknown;
  readonly raw?: Uint8Array;
}

function repoAt(folder: string, name: string): Repo {
  // A server for tests need not survive a power loss.
  const git = gitCommand({ runtime: systemRuntime, gitDir: folder, config: [["core.fsync", "none"]] });
  let tail: Promise<unknown> = Promise.resolve();
  const attempt = async (args: readonly string[]) => {
    const { code, stdout, stderr } = await git.run(args);
    return { code, text: stdout.toString("utf8").trim() + stderr };
  };
  const reader = objects(git);
  const maker = commits({ git, objects: reader, algorithm: "sha1" });
  return {
    folder,
    name,
    objects: reader,
    try: attempt,
    async git(args, input) {
      return (await git.need(args, input === undefined ? {} : { input: input.toString() })).toString("utf8").trim();
    },
    commit(made) {
      const next = tail.then(() => maker.commit(made));
      tail = next.catch(() => {});
      return next;
    },
    async close() {
      await maker.close();
      await reader.close();
    },
  };
}

/** GitHub's git data interface, as far as its documents go, over bare repositories that git serves at the same time. */
export async function githubServer(folder: string): Promise<GithubServer> {
  const repos = new Map<string, Repo>();
  const requests: Told[] = [];
  const sockets = new Set<Socket>();
  const waiting: (() => void)[] = [];
  const spent = new Map<string, number>();
  let underWay = 0;
  mkdirSync(folder, { recursive: true });

  const rateHeaders = (token: string, resource: "core" | "graphql", counts: boolean): Record<string, string> => {
    const key = `${token} ${resource}`;
    const used = (spent.get(key) ?? 0) + (counts ? 1 : 0);
    spent.set(key, used);
    return {
      "x-ratelimit-limit": "100000",
      "x-ratelimit-remaining": String(100_000 - used),
      "x-ratelimit-used": String(used),
      "x-ratelimit-reset": String(Math.floor(Date.now() / 1000) + 3600),
      "x-ratelimit-resource": resource,
    };
  };

  const answer = async (request: IncomingMessage, body: Buffer, response: ServerResponse): Promise<void> => {
    const url = new URL(request.url ?? "/", "http://localhost");
    const authorization = request.headers.authorization;
    const token = authorization?.replace(/^Bearer /i, "") ?? "";
    const send = ({ status, body: value, raw }: Reply, headers: Record<string, string> = {}): void => {
      const bytes = raw ?? (value === undefined ? Buffer.alloc(0) : Buffer.from(JSON.stringify(value)));
      const etag = `W/"${createHash("sha256").update(bytes).digest("hex")}"`;
      const isSame = request.method === "GET" && status === 200 && request.headers["if-none-match"] === etag;
      const told = { method: request.method ?? "", path: url.pathname + url.search, authorization };
      requests.push({ ...told, status: isSame ? 304 : status, bytes: body.length + (isSame ? 0 : bytes.length) });
      const resource = url.pathname === "/graphql" ? "graphql" : "core";
      response.writeHead(isSame ? 304 : status, {
        "content-type": raw === undefined ? "application/json; charset=utf-8" : "application/octet-stream",
        ...(request.method === "GET" && status === 200 ? { etag } : {}),
        ...rateHeaders(token, resource, !isSame),
        ...headers,
      });
      response.end(isSame ? undefined : bytes);
    };

    const fault = server.fault(request, body);
    if (fault === "cut") return void request.socket.destroy();
    if (typeof fault === "object") return send({ status: fault.status, body: fault.body }, fault.headers);
    if (fault !== undefined) {
      const cut = fault === "lose";
      response.writeHead = () => response;
      response.end = () => {
        if (cut) request.socket.destroy();
        else server.onHang();
        return response;
      };
    }
    if (await server.extra(request, body, response)) return undefined;
    const may = server.tokens.get(token);
    if (authorization !== undefined && may === undefined)
      return send({ status: 401, body: { message: "Bad credentials" } });
    if (url.pathname === "/graphql") {
      if (!server.hasGraphql) return send({ status: 404, body: { message: "Not Found" } });
      if (may === undefined)
        return send({ status: 401, body: { message: "This endpoint requires you to be authenticated." } });
      return send({ status: 200, body: await graphql(repos, may, JSON.parse(body.toString("utf8"))) });
    }
    const match = /^\/repos\/([^/]+\/[^/]+)(\/.*)?$/.exec(url.pathname);
    const repo = repos.get(match?.[1] ?? "");
    if (repo === undefined) return send({ status: 404, body: { message: "Not Found" } });
    if (request.method !== "GET" && may !== "write") {
      return send({ status: 403, body: { message: "Resource not accessible by personal access token" } });
    }
    const routes = dataRoutes(repo, { may, treeEntriesMax: server.treeEntriesMax });
    const what = {
      method: request.method ?? "GET",
      path: decodeURIComponent(match?.[2] ?? ""),
      query: url.searchParams,
    };
    const sent: unknown = body.length === 0 ? undefined : JSON.parse(body.toString("utf8"));
    return send(await routes({ ...what, body: sent, accept: request.headers.accept ?? "" }));
  };

  const handle = (request: IncomingMessage, response: ServerResponse) => {
    if (/^\/[^/]+\/[^/]+\.git\/(?:info\/refs|git-(?:upload|receive)-pack)/.test(request.url ?? "")) {
      return passToGit(folder, request, response);
    }
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      underWay++;
      answer(request, Buffer.concat(chunks), response)
        .catch((error: unknown) => {
          response.writeHead(500, { "content-type": "application/json" });
          response.end(JSON.stringify({ message: String(error) }));
        })
        .finally(() => underWay--);
    });
    return undefined;
  };

  const listen = async (port: number) => {
    const http = createServer(handle);
    http.on("connection", (socket) => {
      sockets.add(socket);
      socket.on("close", () => {
        sockets.delete(socket);
        if (sockets.size === 0) for (const resolve of waiting.splice(0)) resolve();
      });
    });
    await new Promise<void>((resolve) => http.listen(port, "127.0.0.1", resolve));
    return http;
  };
  const stop = (which: typeof http) =>
    new Promise<void>((resolve) => {
      which.close(() => resolve());
      which.closeAllConnections();
    });
  let http = await listen(0);
  const { port } = http.address() as AddressInfo;

  const server: GithubServer = {
    api: `http://127.0.0.1:${port}`,
    port,
    requests,
    underWay: () => underWay,
    connections: () => sockets.size,
    idle: () => (sockets.size === 0 ? Promise.resolve() : new Promise((resolve) => waiting.push(resolve))),
    tokens: new Map([["tok_octo", "write"]]),
    fault: () => undefined,
    onHang: () => {},
    hasGraphql: true,
    treeEntriesMax: 100_000,
    extra: () => Promise.resolve(false),
    create(owner, name, branch = "main") {
      const at = join(folder, owner, `${name}.git`);
      mkdirSync(at, { recursive: true });
      execFileSync("git", ["init", "--quiet", "--bare", `--initial-branch=${branch}`, at]);
      execFileSync("git", ["-C", at, "config", "http.receivepack", "true"]);
      repos.set(`${owner}/${name}`, repoAt(at, `${owner}/${name}`));
      return at;
    },
    async close() {
      await stop(http);
      for (const repo of repos.values()) await repo.close();
    },
    stop: () => stop(http),
    async restart(meanwhile) {
      await stop(http);
      await meanwhile?.();
      http = await listen(port);
    },
  };
  return server;
}
