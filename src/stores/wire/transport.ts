import { EventEmitter } from "node:events";
import { Readable } from "node:stream";
import type { Agent, Dispatcher } from "undici";
import type { IncomingHttpHeaders } from "undici/types/header.js";

/** A request as it goes over the wire. */
export interface Sending {
  readonly method: "GET" | "HEAD" | "PUT" | "POST" | "PATCH" | "DELETE";
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  /** A stream is sent as it comes; its length is in the headers. */
  readonly body?: string | Uint8Array | AsyncIterable<Uint8Array> | undefined;
  readonly signal: Stop;
}

/** Ends a request, as an AbortSignal does, at a thirtieth of its cost. */
export class Stop extends EventEmitter {
  aborted = false;

  now(): void {
    if (this.aborted) return;
    this.aborted = true;
    this.emit("abort");
  }
}

/** What came back. The body must be read to its end or dropped: the connection is held until then. */
export interface Answering {
  readonly status: number;
  /** Names in lower case; of a name that came several times, the first. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: AsyncIterable<Uint8Array>;
  /** All of the body. Undefined when it is larger than so many bytes: the connection is given up then. */
  whole(bytesMax: number): Promise<Uint8Array | undefined>;
  /** Gives the connection up. */
  drop(): void;
}

export interface Transport {
  send(sending: Sending): Promise<Answering>;
  /** Connections that are open now. */
  readonly open: number;
  /** Ends every connection. */
  close(): Promise<void>;
}

export interface TransportOptions {
  /** How many connections to one host there are at most; more requests wait for one. */
  readonly connections: number;
  /** Certificates of authorities to trust, in PEM. Default: those of Node. */
  readonly ca?: string | undefined;
}

type Body = Dispatcher.ResponseData["body"];

/** A connection that was not used for so long is closed, in milliseconds: below what servers and balancers allow. */
const IDLE_MS = 20_000;
/** What is read ahead of a stream is counted in bytes, not in pieces. */
const PIECES = { objectMode: false, highWaterMark: 64 * 1024 };
const HEADER_BYTES_MAX = 64 * 1024;
/** Several pieces of a socket. */
const LARGE_BYTES = 256 * 1024;

/**
 * HTTP over connections that are kept. TLS is the platform's, with its checks; redirects are not followed. Its own time
 * limits are off, but that of making a connection: whoever sends has them.
 */
export function transport({ connections, ca }: TransportOptions): Transport {
  const placeOf = places();
  let open = 0;
  let loading: Promise<{ agent: Agent; request: typeof Dispatcher.prototype.request }> | undefined;
  /** The client is loaded by the first request: a store that never asks anybody needs none. */
  const load = async () => {
    const { Agent } = await import("undici");
    const agent = new Agent({
      connections,
      pipelining: 1,
      keepAliveTimeout: IDLE_MS,
      keepAliveMaxTimeout: IDLE_MS,
      headersTimeout: 0,
      bodyTimeout: 0,
      maxHeaderSize: HEADER_BYTES_MAX,
      connect: { ca },
    });
    agent.on("connect", () => open++);
    agent.on("disconnect", () => open--);
    return { agent, request: agent.request.bind(agent) };
  };
  return {
    get open() {
      return open;
    },
    async send({ method, url, headers, body, signal }) {
      const { request } = await (loading ??= load());
      const { origin, path } = placeOf(url);
      const isWhole = body === undefined || typeof body === "string" || body instanceof Uint8Array;
      const {
        statusCode,
        headers: raw,
        body: stream,
      } = await request({
        origin,
        path,
        method,
        headers,
        body: isWhole ? (body ?? null) : Readable.from(body, PIECES),
        signal,
        // Else undici closes the connection after every HEAD, for servers that send a body with one.
        reset: false,
      });
      const named = firstsOf(raw);
      return {
        status: statusCode,
        headers: named,
        body: stream,
        whole: (bytesMax) => wholeOf(stream, bytesMax, named["content-length"]),
        drop: () => drop(stream),
      };
    },
    async close() {
      await (await loading)?.agent.destroy();
    },
  };
}

/** Takes addresses apart as URL does, which costs more than the rest of a small request; the last server is remembered. */
function places(): (url: string) => { readonly origin: string; readonly path: string } {
  let last = { server: "", origin: "" };
  return (url) => {
    const end = url.indexOf("/", url.indexOf("//") + 2);
    const path = end < 0 ? "" : url.slice(end);
    if (!PLAIN.test(path)) {
      const { origin, pathname, search } = new URL(url);
      return { origin, path: pathname + search };
    }
    const server = url.slice(0, end);
    if (server !== last.server) last = { server, origin: new URL(url).origin };
    return { origin: last.origin, path };
  };
}

/** What a URL leaves as it is: no segments of dots, and nothing that it writes in another way. */
const PLAIN = /^(?:\/(?!(?:\.|%2[eE]){1,2}(?:[/?]|$))[A-Za-z0-9._~%-]*)+(?:\?[A-Za-z0-9._~%=&-]*)?$/;

/** Of a header that came several times, the first. */
function firstsOf(raw: IncomingHttpHeaders): Readonly<Record<string, string>> {
  const headers = raw as Record<string, string | string[]>;
  for (const name in headers) {
    const value = headers[name];
    if (Array.isArray(value)) headers[name] = value[0] ?? "";
  }
  return headers as Record<string, string>;
}

function drop(stream: Readable): void {
  // An error that comes of giving up has nobody to go to.
  stream.on("error", () => {});
  stream.destroy();
}

/**
 * A small answer that says how long it is comes by the client's own way, which costs least. Any other by events: an iterator
 * costs more than everything else that an answer does. A large one goes to its place as it comes: put together at its end it
 * would be in memory twice.
 */
function wholeOf(stream: Body, bytesMax: number, announced: string | undefined): Promise<Uint8Array | undefined> {
  const bytes = Number(announced ?? Number.NaN);
  if (bytes < LARGE_BYTES && bytes <= bytesMax) return stream.bytes();
  return new Promise((resolve, reject) => {
    // Not zeroed: nothing of it is seen before it was written.
    const place = bytes <= bytesMax ? new Uint8Array(Buffer.allocUnsafeSlow(bytes).buffer) : undefined;
    const chunks: Uint8Array[] = [];
    let length = 0;
    stream.on("data", (chunk: Uint8Array) => {
      const at = length;
      length += chunk.length;
      if (length > bytesMax) {
        drop(stream);
        resolve(undefined);
      } else if (place === undefined) chunks.push(chunk);
      else if (length <= place.length) place.set(chunk, at);
    });
    stream.on("end", () => {
      if (place === undefined) resolve(joined(chunks, length));
      else if (length === place.length) resolve(place);
      else reject(new Error(`the answer has ${length} bytes, and said ${place.length}`));
    });
    stream.on("error", reject);
  });
}

/** As a plain Uint8Array that keeps no larger buffer alive. */
function joined(chunks: readonly Uint8Array[], length: number): Uint8Array {
  const whole = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.length;
  }
  return whole;
}
