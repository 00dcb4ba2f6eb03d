import { Hono } from "hono";
import type { Chain } from "../chain/chain.ts";
import { checkNumbers } from "../chain/layer.ts";
import { ending } from "../ending.ts";
import { SyncError } from "../error.ts";
import { HEADER } from "../protocol.ts";
import { failure, message, problem } from "./answering.ts";
import { LINES_TYPE, batchLines } from "./batch-lines.ts";
import { batchMessages, resultsMessage } from "./batch.ts";
import { changes } from "./changes.ts";
import { EVERYTHING, Loop, allowVerb } from "./grants.ts";
import type { Grant, RequestHead } from "./grants.ts";
import { hitter } from "./hit.ts";
import type { Hit } from "./hit.ts";
import { listKeys } from "./listing.ts";
import { countRequest, counters } from "./metrics.ts";
import { getKey } from "./reading.ts";
import { namesBelow } from "./shape.ts";
import { LIMITS, wholeNumber } from "./state.ts";
import type { Call, NodeLimits, NodeState } from "./state.ts";
import { flush, livez, metrics, readyz, status } from "./status.ts";
import { storeStream } from "./streams.ts";
import { unstorage } from "./unstorage.ts";
import { deleteKey, putKey } from "./writing.ts";

export type { Door, Grant, RequestHead, Verb } from "./grants.ts";
export type { Hit } from "./hit.ts";
export type { NodeLimits } from "./state.ts";

export interface NodeOptions {
  /** By which other nodes know this one: in `Cache-Status`, and to refuse loops. Default: a random one. */
  readonly name?: string | undefined;
  readonly limits?: Partial<NodeLimits> | undefined;
  /** Whose request it is, by what it carries; throws `Refused`. Default: everybody may do everything. */
  readonly authorise?: ((request: Request) => Grant | Promise<Grant>) | undefined;
  /** Lets the clear of the unstorage mount delete many keys at once. Default false. */
  readonly allowClear?: boolean | undefined;
  /** Runs the work of a request so that stores which ask other nodes know through which ones it came. */
  readonly within?: (<T>(via: readonly string[], work: () => Promise<T>) => Promise<T>) | undefined;
}

/** A chain over HTTP: what a platform's server is given. */
export interface SyncNode {
  readonly name: string;
  readonly chain: Chain;
  readonly limits: NodeLimits;
  fetch(request: Request): Promise<Response>;
  /**
   * What `fetch` answers to a GET of the path, a request without headers but those that `head` tells of, where the
   * chain's memory can answer by itself; undefined: ask `fetch`. Counted among the requests.
   */
  hit(path: string, head: RequestHead): Hit | undefined;
  /** Ends the feeds; requests are still answered, and said to be the last of their connection. The chain is left open. */
  stop(): void;
  readonly stopping: boolean;
}

/**
 * A handler of requests over a chain, for any platform with Request and Response.
 * @throws SyncError INVALID for an option out of range.
 */
export function nodeOver(chain: Chain, options: NodeOptions = {}): SyncNode {
  const limits: NodeLimits = { ...LIMITS, ...definedOf(options.limits ?? {}) };
  checkNumbers("node", { ...limits });
  const name = options.name ?? randomName(chain);
  if (!/^[\w.-]{1,64}$/.test(name)) {
    throw new SyncError("INVALID", `${JSON.stringify(name.slice(0, 80))} is not a node's name`, {
      cure: "use up to 64 letters, digits, dots, hyphens and underscores",
    });
  }
  const { runtime, clock } = chain;
  const stopping = ending();
  let ready = false;
  void chain.ready().then(() => {
    ready = true;
  });
  const state: NodeState = {
    name,
    chain,
    runtime,
    clock,
    limits,
    counters: counters(),
    startedAt: runtime.monotonic(),
    stopping,
    isReady: () => ready,
    watches: 0,
    allowClear: options.allowClear ?? false,
  };
  const { authorise = () => EVERYTHING, within = (_, work) => work() } = options;
  const app = routes(state, authorise, within);
  return {
    name,
    chain,
    limits,
    async fetch(request) {
      const response = await app.fetch(request);
      if (stopping.isOver) response.headers.set("connection", "close");
      return response;
    },
    hit: hitter(state, options.authorise),
    stop: () => stopping.end(),
    get stopping() {
      return stopping.isOver;
    },
  };
}

function definedOf(limits: Partial<NodeLimits>): Partial<NodeLimits> {
  return Object.fromEntries(Object.entries(limits).filter(([, value]) => value !== undefined));
}

function randomName({ runtime }: Chain): string {
  const bytes = runtime.random(new Uint8Array(6));
  return `node-${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

type Handle = (call: Call) => Response | Promise<Response>;

/** Every path that the node answers, with its methods; docs/openapi.json says the same. */
export const ROUTES: Readonly<Record<string, readonly string[]>> = {
  "/livez": ["GET"],
  "/readyz": ["GET"],
  "/metrics": ["GET"],
  "/v1/kv": ["GET", "PUT", "DELETE"],
  "/v1/kv/{key}": ["GET", "PUT", "DELETE"],
  "/v1/batch": ["POST"],
  "/v1/stream": ["PUT"],
  "/v1/changes": ["GET"],
  "/v1/status": ["GET"],
  "/v1/flush": ["POST"],
  "/unstorage/{key}": ["GET", "PUT", "DELETE"],
};

function routes(
  state: NodeState,
  authorise: NonNullable<NodeOptions["authorise"]>,
  within: NonNullable<NodeOptions["within"]>,
): Hono {
  const app = new Hono({ strict: true });
  const { runtime } = state;

  const answer = async (request: Request, route: string, handle: Handle): Promise<Response> => {
    const startedAt = runtime.monotonic();
    let response: Response;
    try {
      const via = viaOf(state, request, route);
      const grant = await authorise(request);
      response = await within([...via, state.name], async () => handle(callOf(state, request, grant)));
    } catch (error) {
      response = failure(error);
    }
    countRequest(state.counters, route, request.method, response.status, runtime.monotonic() - startedAt);
    return response;
  };
  const on = (method: string, path: string, route: string, handle: Handle) => {
    app.on(method, path, (c) => answer(c.req.raw, route, handle));
  };

  app.get("/livez", () => livez());
  app.get("/readyz", (c) => readyz(state, new URL(c.req.raw.url)));
  on("GET", "/metrics", "/metrics", metrics);
  on("GET", "/v1/status", "/v1/status", status);
  on("POST", "/v1/flush", "/v1/flush", (call) => {
    allowVerb(call.grant, "write");
    return flush(call);
  });
  on("POST", "/v1/batch", "/v1/batch", (call) => (speaksLines(call) ? batchLines(call) : batchMessages(call)));
  on("PUT", "/v1/stream", "/v1/stream", async (call) => {
    const { write, result } = await storeStream(call, queryKey(call));
    return message(resultsMessage([write], [result]));
  });
  on("GET", "/v1/changes", "/v1/changes", changes);
  on("GET", "/v1/kv", "/v1/kv", (call) =>
    call.url.searchParams.has("key") ? getKey(call, queryKey(call)) : listKeys(call),
  );
  on("PUT", "/v1/kv", "/v1/kv", (call) => putKey(call, queryKey(call)));
  on("DELETE", "/v1/kv", "/v1/kv", (call) => deleteKey(call, queryKey(call)));
  on("GET", "/v1/kv/*", "/v1/kv/{key}", (call) => getKey(call, pathKey(call, "/v1/kv/")));
  on("PUT", "/v1/kv/*", "/v1/kv/{key}", (call) => putKey(call, pathKey(call, "/v1/kv/")));
  on("DELETE", "/v1/kv/*", "/v1/kv/{key}", (call) => deleteKey(call, pathKey(call, "/v1/kv/")));
  for (const method of ["GET", "PUT", "DELETE"]) {
    on(method, "/unstorage/*", "/unstorage/{key}", (call) => unstorage(call, pathKey(call, "/unstorage/")));
  }
  for (const [route, methods] of Object.entries(ROUTES)) {
    const allow = methods.includes("GET") ? [...methods, "HEAD"] : methods;
    app.all(route.replace("{key}", "*"), (c) => notAllowed(c.req.raw.method, allow.join(", ")));
  }
  app.notFound(() => nothingThere());
  app.onError((error) => failure(error));
  return app;
}

/** @throws SyncError for a request that has come through this node before, or through too many. */
function viaOf(state: NodeState, { headers }: Request, route: string): readonly string[] {
  const { name, limits, chain } = state;
  const text = headers.get(HEADER.via) ?? "";
  const via = text.split(",").flatMap((part) => (part.trim() === "" ? [] : [part.trim().slice(0, 64)]));
  // By this others learn of the loop.
  if (route === "/v1/status") return via;
  if (via.includes(name)) throw new Loop([...via, name]);
  // A loop that no request has been around yet: a node below has this one below it.
  const below = namesBelow(name, chain);
  if (below.includes(name)) throw new Loop([name, ...below.slice(0, below.indexOf(name) + 1)]);
  if (via.length > limits.hopsMax) {
    const what = `the request came through ${via.length} nodes, the limit is ${limits.hopsMax}`;
    throw new SyncError("UNSUPPORTED", what, { cure: "shorten the chain of nodes, or raise the limit of hops" });
  }
  return via;
}

function callOf(state: NodeState, request: Request, grant: Grant): Call {
  const { runtime, limits } = state;
  const asked = wholeNumber(HEADER.timeout, request.headers.get(HEADER.timeout), limits.requestMs);
  const deadline = runtime.monotonic() + (asked ?? limits.requestMs);
  const patience = asked === undefined ? {} : { deadline };
  return { state, request, url: new URL(request.url), grant, deadline, patience, receivedAt: runtime.now() };
}

/** Whether a batch comes as lines. What it came as is what is answered with. */
function speaksLines({ request: { headers } }: Call): boolean {
  const type = (headers.get("content-type") ?? "").split(";")[0]?.trim().toLowerCase();
  return type === LINES_TYPE || type === "application/ndjson" || type === "application/jsonl";
}

/** The key behind a path, its slashes plain or escaped. @throws SyncError INVALID. */
function pathKey({ url }: Call, before: string): string {
  const text = url.pathname.slice(before.length);
  try {
    return decodeURIComponent(text);
  } catch (cause) {
    throw new SyncError("INVALID", "the path is not percent-encoded UTF-8", {
      cause,
      cure: "escape the key, or use ?key=",
    });
  }
}

function queryKey({ url }: Call): string {
  const key = url.searchParams.get("key");
  if (key !== null) return key;
  throw new SyncError("INVALID", "no key is given", { cure: "write /v1/kv/KEY or /v1/kv?key=KEY" });
}

function notAllowed(method: string, allow: string): Response {
  const detail = `${method} is not answered here`;
  const what = { type: "urn:microsync:error:UNSUPPORTED", title: "Method not allowed", status: 405, detail };
  return problem({ ...what, code: "UNSUPPORTED", reason: detail, retryable: false, cure: `use ${allow}` }, { allow });
}

function nothingThere(): Response {
  const detail = "there is nothing at this path";
  const what = { type: "urn:microsync:error:INVALID", title: "Not found", status: 404, detail };
  return problem({
    ...what,
    code: "INVALID",
    reason: detail,
    retryable: false,
    cure: "docs/protocol.md lists the paths",
  });
}
