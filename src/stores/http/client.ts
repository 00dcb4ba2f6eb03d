import { SyncError } from "../../error.ts";
import type { ErrorCode } from "../../error.ts";
import { HEADER, LOOP_DETECTED, MESSAGE_TYPE, decodeMessages, errorOf, shapeFrom } from "../../protocol.ts";
import type { Hello, Message } from "../../protocol.ts";
import type { Runtime } from "../../runtime.ts";
import type { CallOptions } from "../../store.ts";
import type { Http, HttpRequest, HttpSettings, HttpStream } from "../wire/http.ts";
import type { NodeAddress } from "./address.ts";

export interface ClientOptions {
  readonly runtime: Runtime;
  readonly store: string;
  readonly address: NodeAddress;
  readonly timeoutMs: number;
  readonly connectionsMax: number;
  readonly ca: string | undefined;
  /** How long a feed may be silent, in milliseconds. */
  readonly silenceMs: number;
  readonly via: () => readonly string[];
  readonly transport: Transport;
  /** The node has answered, with a loop or otherwise. */
  readonly onAnswer: (isLoop: boolean) => void;
}

/** What carries requests: undici's connections, or in tests and on other platforms something else. */
export type Transport = (settings: HttpSettings) => Http;

/** One call of the store on its way. A deadline of Infinity: for as long as something comes. */
export interface Call extends CallOptions {
  readonly operation: string;
  readonly deadline: number;
}

export interface Asked {
  readonly method: HttpRequest["method"];
  /** Below `/v1/`, with its query. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: HttpRequest["body"];
  /** The same may be asked twice: a connection that ended as it was used is no failure then. */
  readonly repeatable?: boolean;
}

/** What a node answers with at most, apart from values: a problem document, or its status. */
const SMALL_BYTES_MAX = 4 * 2 ** 20;
/** A node sends a message when it has some MiB; its last entry may be as large as an entry can be. */
const MESSAGE_BYTES_MAX = 256 * 2 ** 20;
const UNREADABLE: ReadonlySet<ErrorCode> = new Set(["INVALID", "CORRUPT", "TOO_LARGE"]);
const FEEDS_MAX = 10_000;

/** Requests to one node. */
export class NodeClient {
  private readonly options: ClientOptions;
  private readonly calls: Http;
  private readonly feeds: Http;

  constructor(options: ClientOptions) {
    const { runtime, store, timeoutMs, connectionsMax, ca, silenceMs, transport } = options;
    this.options = options;
    this.calls = transport({ runtime, store, timeoutMs, connectionsMax, ca });
    this.feeds = transport({ runtime, store, timeoutMs: silenceMs, connectionsMax: FEEDS_MAX, ca });
  }

  async hello(call: Call): Promise<Hello> {
    const bytes = await this.small({ method: "GET", path: "status", repeatable: true }, call);
    const hello = parsed(bytes) as Partial<Hello> | undefined;
    const shape = shapeFrom(hello?.shape);
    const { supports, limits } = hello ?? {};
    const isWhole = typeof supports === "object" && supports !== null && typeof limits?.bodyBytesMax === "number";
    if (!isWhole || shape === undefined) throw this.stranger(call);
    return { supports, limits, shape };
  }

  /** The answer to what is no value, at once. */
  async small(asked: Asked, call: Call): Promise<Uint8Array> {
    const answer = await this.stream(asked, call);
    return gathered(answer.body, SMALL_BYTES_MAX, call.operation);
  }

  /** The messages of an answer, as they come. */
  async *messages(asked: Asked, call: Call): AsyncIterable<Message> {
    const headers = { accept: MESSAGE_TYPE, ...asked.headers };
    const answer = await this.stream({ ...asked, headers }, call);
    if (answer.headers["content-type"] !== MESSAGE_TYPE) throw this.stranger(call);
    try {
      yield* decodeMessages(answer.body, MESSAGE_BYTES_MAX);
    } catch (error) {
      // What came damaged, without measure or ended early is no answer, and may be asked for again.
      if (!(error instanceof SyncError) || !UNREADABLE.has(error.code)) throw error;
      throw new SyncError("UNAVAILABLE", error.what, {
        store: this.options.store,
        operation: call.operation,
        cause: error,
      });
    }
  }

  /** @throws SyncError for any answer but a good one. */
  async stream(asked: Asked, call: Call): Promise<HttpStream> {
    return this.good(await this.answer(asked, call), call);
  }

  /** Any answer. */
  answer(asked: Asked, call: Call): Promise<HttpStream> {
    return this.send(this.calls, asked, call);
  }

  async feed(path: string, options: CallOptions): Promise<HttpStream> {
    const asked: Asked = { method: "GET", path, headers: { accept: "text/event-stream" } };
    const call = { ...options, operation: "watch" };
    const answer = await this.feeds.stream(this.requestOf(asked, undefined), call);
    return this.good(answer, call);
  }

  async close(): Promise<void> {
    await Promise.all([this.calls.close(), this.feeds.close()]);
  }

  private async send(over: Http, asked: Asked, call: Call): Promise<HttpStream> {
    try {
      return await over.stream(this.requestOf(asked, call.deadline), call);
    } catch (error) {
      // The node closed an idle connection just as it was used: nobody has answered, and nothing is wrong.
      if (asked.repeatable !== true || !isCutOff(error)) throw error;
      return over.stream(this.requestOf(asked, call.deadline), call);
    }
  }

  private requestOf({ method, path, headers = {}, body }: Asked, deadline: number | undefined): HttpRequest {
    const { address, runtime, via } = this.options;
    const { base, token } = address;
    const hops = via();
    const leftMs =
      deadline === undefined || deadline === Infinity
        ? undefined
        : Math.max(1, Math.floor(deadline - runtime.monotonic()));
    return {
      method,
      url: `${base}v1/${path}`,
      headers: {
        ...headers,
        ...(leftMs === undefined ? {} : { [HEADER.timeout]: String(leftMs) }),
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...(hops.length === 0 ? {} : { [HEADER.via]: hops.join(", ") }),
      },
      body,
    };
  }

  /** @throws SyncError as the answer says. */
  async good(answer: HttpStream, call: Pick<Call, "operation">): Promise<HttpStream> {
    this.options.onAnswer(answer.status === LOOP_DETECTED);
    if (answer.status >= 200 && answer.status < 300) return answer;
    const place = { store: this.options.store, operation: call.operation };
    const bytes = await gathered(answer.body, SMALL_BYTES_MAX, call.operation);
    const problem = parsed(bytes);
    if (answer.status === 404) throw this.stranger(call, errorOf(problem, place));
    throw errorOf(problem, place);
  }

  private stranger({ operation }: Pick<Call, "operation">, cause?: unknown): SyncError {
    const cure = "look whether a node answers at this address, and under this path";
    return new SyncError("UNAVAILABLE", "what answers is not a node", {
      store: this.options.store,
      operation,
      cure,
      cause,
    });
  }
}

function isCutOff(error: unknown): boolean {
  if (!(error instanceof SyncError) || error.code !== "UNAVAILABLE") return false;
  const code = error.cause instanceof Error && "code" in error.cause ? error.cause.code : undefined;
  return code === "UND_ERR_SOCKET" || code === "ECONNRESET" || code === "EPIPE";
}

function parsed(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes)) as unknown;
  } catch {
    return undefined;
  }
}

async function gathered(pieces: AsyncIterable<Uint8Array>, bytesMax: number, operation: string): Promise<Uint8Array> {
  const found: Uint8Array[] = [];
  let bytes = 0;
  for await (const piece of pieces) {
    bytes += piece.length;
    if (bytes > bytesMax) throw new SyncError("TOO_LARGE", `the answer has more than ${bytesMax} bytes`, { operation });
    found.push(piece);
  }
  return Buffer.concat(found);
}
