import { Agent, request } from "undici";
import { SyncError } from "../../error.ts";
import type { Runtime } from "../../runtime.ts";
import { aborted } from "../../store.ts";
import type { CallOptions } from "../../store.ts";

export interface HttpSettings {
  readonly runtime: Runtime;
  /** The store's name, for errors. */
  readonly store: string;
  /** For one request, from its sending to the last byte of its answer, in milliseconds. */
  readonly timeoutMs: number;
  /** How many connections there may be to one host. */
  readonly connectionsMax: number;
}

export interface HttpRequest {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array | undefined;
  /** A larger answer is an error. */
  readonly answerBytesMax: number;
}

export interface HttpAnswer {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly bytes: Uint8Array;
}

/** Requests over a bounded pool of connections. TLS is the platform's, with its checks. */
export interface Http {
  /**
   * Any status is an answer. @throws SyncError ABORTED, TIMEOUT, TOO_LARGE, or UNAVAILABLE when the connection failed;
   * what was sent may have taken effect.
   */
  send(request: HttpRequest, options: CallOptions): Promise<HttpAnswer>;
  /** Connections that are open now. */
  readonly connections: number;
  close(): Promise<void>;
}

export function http({ runtime, store, timeoutMs, connectionsMax }: HttpSettings): Http {
  // Time is kept here, by the Runtime: the agent's own limits only have to be no shorter.
  const agent = new Agent({
    connections: connectionsMax,
    pipelining: 1,
    headersTimeout: timeoutMs + 1_000,
    bodyTimeout: timeoutMs + 1_000,
    connect: { timeout: timeoutMs + 1_000 },
  });
  let connections = 0;
  agent.on("connect", () => connections++);
  agent.on("disconnect", () => connections--);

  return {
    get connections() {
      return connections;
    },
    async send({ method, url, headers, body, answerBytesMax }, { signal, deadline }) {
      const place = { store, operation: `${method} ${new URL(url).pathname}` };
      if (signal?.aborted === true) throw aborted(signal, store, place.operation);
      const left = deadline === undefined ? timeoutMs : Math.min(timeoutMs, deadline - runtime.monotonic());
      const stop = new AbortController();
      let late = false;
      const timer = runtime.timer(Math.max(0, left), () => {
        late = true;
        stop.abort();
      });
      const onAbort = () => stop.abort();
      signal?.addEventListener("abort", onAbort, { once: true });
      try {
        const answer = await request(url, {
          method,
          headers,
          body: body ?? null,
          dispatcher: agent,
          signal: stop.signal,
        });
        const chunks: Buffer[] = [];
        let bytes = 0;
        for await (const chunk of answer.body as AsyncIterable<Buffer>) {
          bytes += chunk.length;
          if (bytes > answerBytesMax) {
            stop.abort();
            throw new SyncError("TOO_LARGE", `the answer has more than ${answerBytesMax} bytes`, place);
          }
          chunks.push(chunk);
        }
        return { status: answer.statusCode, headers: answer.headers, bytes: Buffer.concat(chunks) };
      } catch (error) {
        if (error instanceof SyncError) throw error;
        if (signal !== undefined && isAborted(signal)) throw aborted(signal, store, place.operation);
        if (late) {
          const what = `no whole answer within ${Math.max(0, Math.round(left))} ms`;
          throw new SyncError("TIMEOUT", what, { ...place, cure: "what was sent may still take effect" });
        }
        const what = `the connection failed: ${error instanceof Error ? error.message : String(error)}`;
        throw new SyncError("UNAVAILABLE", what, { ...place, cause: error });
      } finally {
        timer.cancel();
        signal?.removeEventListener("abort", onAbort);
      }
    },
    close: () => agent.destroy(),
  };
}

function isAborted({ aborted: isOver }: AbortSignal): boolean {
  return isOver;
}
