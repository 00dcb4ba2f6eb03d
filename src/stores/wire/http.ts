import { SyncError } from "../../error.ts";
import type { Runtime, Timer } from "../../runtime.ts";
import { aborted } from "../../store.ts";
import type { CallOptions } from "../../store.ts";
import { transport } from "./transport.ts";
import { Stop } from "./transport.ts";
import type { Sending } from "./transport.ts";

export interface HttpSettings {
  readonly runtime: Runtime;
  /** The store's name, for errors. */
  readonly store: string;
  /** For a whole answer, or between two pieces of a stream, in milliseconds. */
  readonly timeoutMs: number;
  /** How many connections there may be to one host. */
  readonly connectionsMax: number;
  /** The certificates of authorities that are trusted in place of the platform's, in PEM. Default: the platform's. */
  readonly ca?: string | undefined;
}

export type HttpRequest = Omit<Sending, "signal">;

export interface HttpHead {
  readonly status: number;
  /** Names in lower case; of a name that came several times, the first. */
  readonly headers: Readonly<Record<string, string>>;
}

export interface HttpAnswer extends HttpHead {
  readonly bytes: Uint8Array;
}

export interface HttpStream extends HttpHead {
  /** To be read to its end, or left by `return`: otherwise its connection stays taken. */
  readonly body: AsyncIterable<Uint8Array>;
}

/**
 * Requests over a bounded pool of connections, each within its time. Any status is an answer.
 * @throws SyncError ABORTED, TIMEOUT, TOO_LARGE, or UNAVAILABLE when the connection failed; what was sent may have taken
 * effect.
 */
export interface Http {
  /** @param answerBytesMax a larger answer is an error. */
  send(request: HttpRequest, answerBytesMax: number, options: CallOptions): Promise<HttpAnswer>;
  stream(request: HttpRequest, options: CallOptions): Promise<HttpStream>;
  /** Connections that are open now. */
  readonly connections: number;
  close(): Promise<void>;
}

export function http(settings: HttpSettings): Http {
  const over = transport({ connections: settings.connectionsMax, ca: settings.ca });
  let closing: Promise<void> | undefined;

  const begin = async (sent: HttpRequest, options: CallOptions) => {
    const { method, url, body } = sent;
    const operation = () => `${method} ${new URL(url).pathname}`;
    const patience = patienceOf(settings, operation, options, () => closing !== undefined);
    try {
      if (closing !== undefined) throw new SyncError("CLOSED", "the store is closed", { store: settings.store });
      const isWhole = body === undefined || typeof body === "string" || body instanceof Uint8Array;
      const answer = await over.send({ ...sent, body: isWhole ? body : moving(body), signal: patience.signal });
      return { answer, patience };
    } catch (error) {
      throw patience.over(error);
    }
    /** A stream that goes on is no reason to give up. */
    async function* moving(pieces: AsyncIterable<Uint8Array>) {
      for await (const piece of pieces) {
        patience.renew();
        yield piece;
      }
    }
  };

  return {
    get connections() {
      return over.open;
    },
    async send(sent, answerBytesMax, options) {
      const { answer, patience } = await begin(sent, options);
      try {
        const bytes = await answer.whole(answerBytesMax);
        if (bytes === undefined) throw patience.tooLarge(answerBytesMax);
        patience.end();
        return { status: answer.status, headers: answer.headers, bytes };
      } catch (error) {
        throw patience.over(error);
      }
    },
    async stream(sent, options) {
      const { answer, patience } = await begin(sent, options);
      const pieces = async function* () {
        try {
          for await (const chunk of answer.body) {
            patience.renew();
            yield chunk;
          }
        } catch (error) {
          throw patience.over(error);
        } finally {
          patience.end();
        }
      };
      return { status: answer.status, headers: answer.headers, body: pieces() };
    },
    close() {
      closing ??= over.close();
      return closing;
    },
  };
}

/** How long one request may take, and why it ended when it did not end by itself. */
function patienceOf(
  { runtime, store, timeoutMs }: HttpSettings,
  operation: () => string,
  options: CallOptions,
  isClosing: () => boolean,
) {
  const { signal, deadline } = options;
  const place = () => ({ store, operation: operation() });
  const stop = new Stop();
  let timer: Timer | undefined;
  let lateMs: number | undefined;
  const onAbort = () => stop.now();
  const end = () => {
    timer?.cancel();
    signal?.removeEventListener("abort", onAbort);
  };
  const renew = () => {
    timer?.cancel();
    const left = deadline === undefined ? timeoutMs : Math.min(timeoutMs, deadline - runtime.monotonic());
    timer = runtime.timer(Math.max(0, left), () => {
      lateMs = Math.max(0, Math.round(left));
      stop.now();
    });
  };
  signal?.addEventListener("abort", onAbort, { once: true });
  if (signal?.aborted === true) stop.now();
  renew();
  return {
    signal: stop,
    renew,
    end,
    tooLarge(bytesMax: number): SyncError {
      stop.now();
      return new SyncError("TOO_LARGE", `the answer has more than ${bytesMax} bytes`, place());
    },
    /** The error to throw for what ended it. */
    over(error: unknown): SyncError {
      end();
      if (error instanceof SyncError) return error;
      if (isClosing()) return new SyncError("CLOSED", "the store was closed meanwhile", place());
      if (signal?.aborted === true) return aborted(signal, store, operation());
      if (lateMs !== undefined) {
        const cure = "what was sent may still take effect";
        return new SyncError("TIMEOUT", `no whole answer within ${lateMs} ms`, { ...place(), cure });
      }
      const what = `the connection failed: ${error instanceof Error ? error.message : String(error)}`;
      return new SyncError("UNAVAILABLE", what, { ...place(), cause: error });
    },
  };
}
