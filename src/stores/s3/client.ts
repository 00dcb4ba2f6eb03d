import { createHash } from "node:crypto";
import { AwsV4Signer } from "aws4fetch";
import type { Budget } from "../../budget.ts";
import { SyncError } from "../../error.ts";
import { randomBelow, sleep } from "../../runtime.ts";
import type { Runtime } from "../../runtime.ts";
import { aborted } from "../../store.ts";
import type { Call } from "./call.ts";
import type { Credentials } from "./credentials.ts";
import { encodeName } from "./endpoint.ts";
import type { Endpoint } from "./endpoint.ts";
import { brokenOf, codeOf, failureOf, isPassing, strangeOf } from "./failures.ts";
import type { Where } from "./failures.ts";
import { Stop } from "../wire/transport.ts";
import type { Answering, Sending, Transport } from "../wire/transport.ts";

/** One request, as the store thinks of it. */
export interface Ask {
  readonly method: Sending["method"];
  /** The object's whole name; "" is the bucket. */
  readonly name: string;
  readonly query?: Readonly<Record<string, string>> | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  readonly body?: Uint8Array | undefined;
  /** A body that is read as it is sent, each time that it is sent. */
  readonly stream?: BodyStream | undefined;
  /** For messages. */
  readonly key?: string | undefined;
  /** Statuses that are an answer; every other is thrown as an error. */
  readonly takes: readonly number[];
  /** How much of a body is taken; a longer one is refused. Default 16 MiB, what a list of 1,000 names may have. */
  readonly bytesMax?: number | undefined;
}

export interface BodyStream {
  readonly bytes: number;
  readonly sha256: string | undefined;
  readonly open: () => AsyncIterable<Uint8Array>;
}

export interface Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

export interface ClientOptions {
  readonly name: string;
  readonly runtime: Runtime;
  readonly endpoint: Endpoint;
  readonly credentials: Credentials;
  readonly transport: Transport;
  readonly budget?: Budget | undefined;
  /** How often a request is sent before its failure is told. */
  readonly attempts: number;
  /** How long an answer may take, in milliseconds, with {@link BYTES_PER_MS_MIN} for what is sent or taken. */
  readonly timeoutMs: number;
  /** Told of each answer, see `onAnswer` of connect.ts. */
  readonly onAnswer?: ((date: number | undefined) => void) | undefined;
}

/** A request that failed in passing waits a random time up to this, doubled each time, in milliseconds. */
const WAIT_MS = 100;
const WAIT_MS_MAX = 5_000;
/** The header that says the sum of the body, which the signature covers. A request may bring it along. */
export const SUM = "x-amz-content-sha256";
const ANSWER_BYTES_MAX = 16 * 1024 * 1024;
/** The slowest line on which a body is still waited for: 64 bytes a millisecond is half a megabit a second. */
const BYTES_PER_MS_MIN = 64;

type SignerOptions = ConstructorParameters<typeof AwsV4Signer>[0];
type ToSign = Pick<SignerOptions, "method" | "url" | "headers" | "signQuery">;

/** Signed requests with time limits and repetition. Every operation of S3 that is sent here may be sent twice. */
export class Client {
  readonly name: string;
  readonly runtime: Runtime;
  readonly endpoint: Endpoint;
  /** How many requests were sent, repetitions too. */
  requests = 0;
  private readonly options: ClientOptions;
  private readonly signingKeys = new Map<string, ArrayBuffer>();
  /** Of the last signature, in Unix seconds, and as it was written. */
  private second = Number.NaN;
  private dateText = "";

  constructor(options: ClientOptions) {
    this.options = options;
    this.name = options.name;
    this.runtime = options.runtime;
    this.endpoint = options.endpoint;
  }

  /** @throws SyncError for every status that the request does not take. */
  send(call: Call, ask: Ask): Promise<Reply> {
    return this.repeated(call, ask, async (answer, extend) => {
      const announced = Number(answer.headers["content-length"] ?? 0);
      const { bytesMax = ANSWER_BYTES_MAX } = ask;
      if (ask.method !== "HEAD" && announced > bytesMax) throw this.tooLong(call, ask, announced);
      extend(announced);
      const body = ask.method === "HEAD" ? new Uint8Array(0) : await this.whole(call, ask, answer, bytesMax);
      return { status: answer.status, headers: answer.headers, body };
    });
  }

  /**
   * As {@link Client.send}, but the body is left to `use`, which must read it to its end or drop it, and must not have
   * had an effect when it fails: it is then called again with another answer.
   */
  stream<T>(call: Call, ask: Ask, use: (answer: Answering, extend: (bytes: number) => void) => Promise<T>): Promise<T> {
    return this.repeated(call, ask, use);
  }

  /** A URL that lets anybody who has it do this until it expires. */
  async presigned(method: "GET" | "PUT", name: string, expiresMs: number): Promise<string> {
    const url = new URL(this.urlOf({ method, name, takes: [] }));
    url.searchParams.set("X-Amz-Expires", String(Math.floor(expiresMs / 1000)));
    const signer = this.signer({ method, url: url.href, signQuery: true });
    return (await signer.sign()).url.href;
  }

  close(): Promise<void> {
    return this.options.transport.close();
  }

  private async repeated<T>(
    call: Call,
    ask: Ask,
    use: (answer: Answering, extend: (bytes: number) => void) => Promise<T>,
  ): Promise<T> {
    const { attempts, budget, runtime } = this.options;
    for (let attempt = 1; ; attempt++) {
      call.check();
      await budget?.take(ask.method === "GET" || ask.method === "HEAD" ? { read: 1 } : { write: 1 }, call.options);
      const outcome = await this.attempt(call, ask, use);
      if ("value" in outcome) return outcome.value;
      const { error } = outcome;
      if (!error.retryable || error.code === "TIMEOUT" || error.code === "ABORTED" || attempt >= attempts) throw error;
      const jitter = randomBelow(runtime, Math.min(WAIT_MS_MAX, WAIT_MS * 2 ** attempt)) + 1;
      const waitMs = Math.max(jitter, error.retryAfterMs ?? 0);
      if (error.retryAfterMs !== undefined) budget?.notBefore(runtime.now() + error.retryAfterMs);
      const { deadline, signal } = call.options;
      if (waitMs > WAIT_MS_MAX * 4 || (deadline !== undefined && runtime.monotonic() + waitMs >= deadline)) throw error;
      await sleep(runtime, waitMs, signal).catch((reason: unknown) => {
        throw signal === undefined ? reason : aborted(signal, this.name, call.operation);
      });
    }
  }

  /** One request and its answer, within its time. */
  private async attempt<T>(
    call: Call,
    ask: Ask,
    use: (answer: Answering, extend: (bytes: number) => void) => Promise<T>,
  ): Promise<{ readonly value: T } | { readonly error: SyncError }> {
    const { runtime, timeoutMs, transport } = this.options;
    const where = this.where(call, ask);
    const stop = new Stop();
    let reason: SyncError | undefined;
    const end = (error: SyncError) => {
      reason ??= error;
      stop.now();
    };
    const late = () => end(new SyncError("UNAVAILABLE", `no answer from S3 in time`, { ...where, cure: "try again" }));
    const allow = (bytes: number) => runtime.timer(timeoutMs + bytes / BYTES_PER_MS_MIN, late);
    let timer = allow(ask.stream?.bytes ?? ask.body?.length ?? 0);
    const extend = (bytes: number) => {
      timer.cancel();
      timer = allow(bytes);
    };
    const release = call.onStop(end);
    let answer: Answering | undefined;
    try {
      const sending = await this.signed(ask, stop);
      this.requests++;
      answer = await transport.send(sending);
      this.options.onAnswer?.(dateOf(answer.headers["date"]));
      if (!ask.takes.includes(answer.status)) return { error: await this.refusal(call, ask, answer) };
      return { value: await use(answer, extend) };
    } catch (error) {
      answer?.drop();
      return { error: brokenOf(reason ?? error, where) };
    } finally {
      timer.cancel();
      release();
    }
  }

  private async refusal(call: Call, ask: Ask, answer: Answering): Promise<SyncError> {
    const body = ask.method === "HEAD" ? new Uint8Array(0) : await this.whole(call, ask, answer, ANSWER_BYTES_MAX);
    if (ask.method === "HEAD") answer.drop();
    const seconds = Number(answer.headers["retry-after"]);
    const retryAfterMs = isPassing(answer.status) && seconds > 0 ? seconds * 1000 : undefined;
    return failureOf(answer.status, codeOf(body), this.where(call, ask), retryAfterMs);
  }

  /** @throws SyncError for a body that is longer than it may be, or shorter than it was said to be. */
  private async whole(call: Call, ask: Ask, answer: Answering, bytesMax: number): Promise<Uint8Array> {
    const whole = await answer.whole(bytesMax);
    if (whole === undefined) throw this.tooLong(call, ask, bytesMax + 1);
    return whole;
  }

  private tooLong(call: Call, ask: Ask, bytes: number): SyncError {
    return strangeOf(`an answer of ${bytes} bytes or more is refused`, this.where(call, ask));
  }

  private where(call: Call, ask: Ask): Where {
    return { store: this.name, operation: call.operation, key: ask.key };
  }

  private urlOf({ name, query = {} }: Ask): string {
    const { origin, path } = this.endpoint;
    const parts = Object.entries(query).map(([key, value]) => `${key}=${encodeURIComponent(value)}`);
    return `${origin}${path}${encodeName(name)}${parts.length === 0 ? "" : `?${parts.join("&")}`}`;
  }

  private async signed(ask: Ask, signal: Stop): Promise<Sending> {
    const { method, stream } = ask;
    const url = this.urlOf(ask);
    const headers: Record<string, string> = { ...ask.headers };
    if (stream !== undefined) {
      headers[SUM] = stream.sha256 ?? UNSIGNED;
      headers["content-length"] = String(stream.bytes);
    }
    headers[SUM] ??= ask.body === undefined ? SUM_OF_NOTHING : sha256(ask.body);
    const signer = this.signer({ method, url, headers });
    headers["authorization"] = await signer.authHeader();
    for (const name of ["x-amz-date", "x-amz-security-token"]) {
      const value = signer.headers.get(name);
      if (value !== null) headers[name] = value;
    }
    return { method, url, headers, body: stream?.open() ?? ask.body, signal };
  }

  private signer({ method, url, headers, signQuery }: ToSign): AwsV4Signer {
    const { credentials, endpoint } = this.options;
    const { accessKeyId, secretAccessKey, sessionToken } = credentials;
    const { region } = endpoint;
    const datetime = this.date();
    const cache = this.signingKeys;
    // Written out: to spread objects into one costs more than the rest of it.
    const options: SignerOptions = {
      method,
      url,
      accessKeyId,
      secretAccessKey,
      service: "s3",
      region,
      cache,
      datetime,
    };
    if (headers !== undefined) options.headers = headers;
    if (signQuery !== undefined) options.signQuery = signQuery;
    if (sessionToken !== undefined) options.sessionToken = sessionToken;
    return new AwsV4Signer(options);
  }

  /** The time as signatures have it, to the second. */
  private date(): string {
    const second = Math.floor(this.runtime.now() / 1000);
    if (second !== this.second) {
      this.second = second;
      this.dateText = new Date(second * 1000).toISOString().replace(/[:-]|\.\d{3}/g, "");
    }
    return this.dateText;
  }
}

/** Unix ms of a `Date` header. */
function dateOf(text: string | undefined): number | undefined {
  const ms = text === undefined ? Number.NaN : Date.parse(text);
  return Number.isNaN(ms) ? undefined : ms;
}

/** For a body of which nobody knows the sum before it was sent. */
const UNSIGNED = "UNSIGNED-PAYLOAD";
const SUM_OF_NOTHING = sha256(new Uint8Array(0));

export function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
