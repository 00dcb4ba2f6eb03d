import { forCaller } from "../../caller.ts";
import { Client, Metadata, credentials } from "@grpc/grpc-js";
import type { ChannelCredentials, ClientDuplexStream, ServiceError } from "@grpc/grpc-js";
import { SyncError } from "../../error.ts";
import { randomBelow, sleep } from "../../runtime.ts";
import type { Runtime } from "../../runtime.ts";
import { aborted, closedError } from "../../store.ts";
import type { EtcdAddress } from "./address.ts";
import { EtcdError, etcdFailure, reasonOf } from "./failures.ts";
import { Gate } from "./gate.ts";
import { AUTHENTICATE, WATCH } from "./messages.ts";
import type { Method, WatchRequest, WatchResponse } from "./messages.ts";

export interface ConnectionOptions {
  readonly runtime: Runtime;
  readonly store: string;
  readonly timeoutMs: number;
  /** An attempt is given up after this, in milliseconds; after each that was, the next one after twice as long. */
  readonly attemptMs: number;
  readonly keepAliveMs: number;
  readonly keepAliveTimeoutMs: number;
  readonly inFlightMax: number;
  readonly waitingMax: number;
  readonly answerBytesMax: number;
}

/** Whose call it is: for messages, and when it ends. */
export interface Call {
  readonly operation: string;
  /** Monotonic ms. */
  readonly deadline: number;
  readonly signal: AbortSignal | undefined;
}

export interface Reply<A> {
  readonly answer: A;
  /** An earlier attempt got no answer: it may have taken effect. */
  readonly repeated: boolean;
}

export interface WatchStream {
  /** Nothing happens when it has ended. */
  ask(request: WatchRequest): void;
  cancel(): void;
  pause(): void;
  resume(): void;
}

/** How often a request is sent in all, while a cluster elects a leader or a member hangs. */
const ATTEMPTS_MAX = 8;
const BACKOFF_MS = 50;
const BACKOFF_MS_MAX = 1000;
/** Checking a password is slow on purpose (bcrypt): it may take so many times an attempt. */
const SIGN_IN_ATTEMPTS = 3;
const RECONNECT_MS = 50;
const RECONNECT_MS_MAX = 1000;

type Ready = "elsewhere" | "here";

/**
 * Calls of an etcd cluster: every one has a deadline and a place in a bounded queue, is repeated while that may help
 * (each request of this store may be, since writes are merges), and goes to another member when one fails or hangs.
 * Short attempts are what makes the loss of a leader short: a request that was passed on to the dead one is otherwise
 * answered only after etcd's own 5 s and more.
 */
export class Connection {
  private readonly address: EtcdAddress;
  private readonly options: ConnectionOptions;
  private readonly gate: Gate;
  private readonly secret: ChannelCredentials;
  private readonly clients: (Client | undefined)[];
  private readonly streams = new Set<() => void>();
  private current = 0;
  private token: string | undefined = undefined;
  private signingIn: Promise<void> | undefined = undefined;
  private closed = false;

  constructor(address: EtcdAddress, options: ConnectionOptions) {
    this.address = address;
    this.options = options;
    this.gate = new Gate(options);
    const { tls } = address;
    this.secret =
      tls === undefined ? credentials.createInsecure() : credentials.createSsl(tls.ca ?? null, tls.key, tls.cert);
    this.clients = address.endpoints.map(() => undefined);
  }

  get members(): number {
    return this.clients.length;
  }

  /** @throws SyncError TIMEOUT at the deadline, ABORTED on the signal, CLOSED; EtcdError for what etcd says. */
  async call<Q, A>(method: Method<Q, A>, request: Q, call: Call): Promise<Reply<A>> {
    await this.gate.enter(call);
    try {
      return await this.insist(method, request, call);
    } finally {
      this.gate.leave();
    }
  }

  /** For what no single caller waits for. */
  ownCall(operation: string, timeoutMs = this.options.timeoutMs): Call {
    return { operation, deadline: this.options.runtime.monotonic() + timeoutMs, signal: undefined };
  }

  /** One attempt at one member, for what is about that member. */
  async callMember<Q, A>(member: number, method: Method<Q, A>, request: Q, call: Call): Promise<A> {
    await this.signIn(call);
    return this.attempt(member, method, request, call, call.deadline, this.token);
  }

  private async insist<Q, A>(method: Method<Q, A>, request: Q, call: Call): Promise<Reply<A>> {
    let repeated = false;
    let unreachable = 0;
    let timeouts = 0;
    let signedIn = false;
    for (let attempt = 0; ; attempt++) {
      const member = this.current;
      const { runtime, attemptMs } = this.options;
      try {
        this.check(call);
        if (this.address.user !== undefined && this.token === undefined) await this.signIn(call);
        const until = Math.min(call.deadline, runtime.monotonic() + attemptMs * 2 ** timeouts);
        const answer = await this.attempt(member, method, request, call, until, this.token);
        return { answer, repeated };
      } catch (error) {
        const reason = reasonOf(error);
        if (reason === "token" && this.address.user !== undefined && !signedIn) {
          signedIn = true;
          this.token = undefined;
          continue;
        }
        if (reason !== "again" && reason !== "unreachable") throw error;
        if (reason === "again") repeated = true;
        if (error instanceof SyncError && error.code === "TIMEOUT") timeouts++;
        else unreachable++;
        this.leave(member);
        // One more than there are members: a connection that was cut a moment ago may be there again.
        if (attempt + 1 >= ATTEMPTS_MAX || unreachable > this.members) throw error;
        await this.pause(attempt, unreachable > 0 && unreachable < this.members ? "elsewhere" : "here", call, error);
      }
    }
  }

  /** The wait before the next attempt, with jitter; none when another member can be asked. @throws as `check`. */
  private async pause(attempt: number, ready: Ready, call: Call, reason: unknown): Promise<void> {
    const { runtime } = this.options;
    if (ready === "elsewhere") return;
    const limitMs = Math.min(BACKOFF_MS_MAX, BACKOFF_MS * 2 ** attempt);
    const waitMs = limitMs / 2 + randomBelow(runtime, Math.ceil(limitMs / 2));
    if (runtime.monotonic() + waitMs >= call.deadline) throw this.late(call, reason);
    try {
      await sleep(runtime, waitMs, call.signal);
    } catch {
      throw aborted(call.signal as AbortSignal, this.options.store, call.operation);
    }
  }

  /** The next request goes to another member. */
  private leave(member: number): void {
    if (this.current === member) this.current = (member + 1) % this.members;
  }

  private check(call: Call): void {
    if (this.closed) throw closedError(this.options.store, call.operation);
    if (call.signal?.aborted === true) throw aborted(call.signal, this.options.store, call.operation);
    if (this.options.runtime.monotonic() >= call.deadline) throw this.late(call, undefined);
  }

  private late(call: Call, cause: unknown): SyncError {
    const { store } = this.options;
    const why = cause instanceof SyncError ? `; last: ${cause.what}` : "";
    return new SyncError("TIMEOUT", `the deadline passed${why}`, { store, operation: call.operation, cause });
  }

  private attempt<Q, A>(
    member: number,
    method: Method<Q, A>,
    request: Q,
    call: Call,
    until: number,
    token: string | undefined,
  ): Promise<A> {
    const { runtime, store } = this.options;
    const { operation, signal } = call;
    const started = runtime.monotonic();
    return new Promise<A>((resolve, reject) => {
      const metadata = new Metadata();
      if (token !== undefined && token !== "") metadata.set("token", token);
      const sent = this.client(member).makeUnaryRequest(
        method.path,
        method.request.encode,
        method.answer.decode,
        request,
        metadata,
        {},
        (error: ServiceError | null, answer?: A) => {
          end();
          if (answer !== undefined && error === null) resolve(answer);
          else reject(etcdFailure(error?.code ?? 2, error?.details ?? "no answer", { store, operation }));
        },
      );
      const timer = runtime.timer(until - started, () => {
        reject(
          until >= call.deadline
            ? new SyncError("TIMEOUT", "the deadline passed", { store, operation })
            : new EtcdError("again", "TIMEOUT", `no answer within ${Math.round(until - started)} ms`, {
                store,
                operation,
              }),
        );
        sent.cancel();
      });
      const onAbort = () => {
        reject(aborted(signal as AbortSignal, store, operation));
        sent.cancel();
      };
      const end = () => {
        timer.cancel();
        signal?.removeEventListener("abort", onAbort);
      };
      signal?.addEventListener("abort", onAbort, { once: true });
    });
  }

  /** Gets a token, once for all who need one. Etcd without authentication needs none. */
  private async signIn(call: Call): Promise<void> {
    const { user } = this.address;
    if (user === undefined || this.token !== undefined) return;
    const { runtime, store, attemptMs } = this.options;
    const member = this.current;
    const own = this.ownCall("sign in");
    const until = runtime.monotonic() + attemptMs * SIGN_IN_ATTEMPTS;
    this.signingIn ??= this.attempt(member, AUTHENTICATE, user, own, until, undefined)
      .then(
        ({ token }) => {
          this.token = token;
        },
        (error: unknown) => {
          if (!(error instanceof SyncError && error.what.includes("authentication is not enabled"))) throw error;
          this.token = "";
        },
      )
      .finally(() => {
        this.signingIn = undefined;
      });
    await forCaller(this.signingIn, call, runtime, store, call.operation);
  }

  /**
   * A stream of watch answers; `end` is called once, unless it was cancelled. After the first answer it is the keepalive
   * that notices a silent server; the first must come as soon as that of a request that was sent so often before.
   */
  async watch(
    call: Call,
    attempts: number,
    on: { answer(answer: WatchResponse): void; end(error: SyncError): void },
  ): Promise<WatchStream> {
    this.check(call);
    await this.signIn(call);
    const { runtime, store, attemptMs } = this.options;
    const { operation } = call;
    const member = this.current;
    const metadata = new Metadata();
    // A member that has lost its leader ends the stream, instead of being silent.
    metadata.set("hasleader", "true");
    if (this.token !== undefined && this.token !== "") metadata.set("token", this.token);
    const { path, request, answer } = WATCH;
    const stream: ClientDuplexStream<WatchRequest, WatchResponse> = this.client(member).makeBidiStreamRequest(
      path,
      request.encode,
      answer.decode,
      metadata,
      {},
    );
    let open = true;
    const started = runtime.monotonic();
    const patienceMs = Math.min(call.deadline - started, attemptMs * 2 ** attempts);
    const late = runtime.timer(patienceMs, () =>
      end(etcdFailure(4, `no answer within ${Math.round(patienceMs)} ms`, { store, operation })),
    );
    const end = (error: SyncError | undefined) => {
      if (!open) return;
      open = false;
      late.cancel();
      this.streams.delete(cancel);
      stream.cancel();
      if (error === undefined) return;
      if (reasonOf(error) === "token") this.token = undefined;
      this.leave(member);
      on.end(error);
    };
    const cancel = () => end(undefined);
    stream.on("data", (told: WatchResponse) => {
      late.cancel();
      if (open) on.answer(told);
    });
    stream.on("error", (error: ServiceError) => end(etcdFailure(error.code, error.details, { store, operation })));
    stream.on("end", () => end(etcdFailure(14, "the stream ended", { store, operation })));
    this.streams.add(cancel);
    return {
      ask(one) {
        if (open) stream.write(one);
      },
      cancel,
      pause: () => stream.pause(),
      resume: () => stream.resume(),
    };
  }

  /** The token in use is not accepted any more. */
  forgetToken(): void {
    this.token = undefined;
  }

  private client(member: number): Client {
    const known = this.clients[member];
    if (known !== undefined) return known;
    const { keepAliveMs, keepAliveTimeoutMs, answerBytesMax } = this.options;
    const client = new Client(this.address.endpoints[member] ?? "", this.secret, {
      "grpc.keepalive_time_ms": keepAliveMs,
      "grpc.keepalive_timeout_ms": keepAliveTimeoutMs,
      "grpc.initial_reconnect_backoff_ms": RECONNECT_MS,
      "grpc.max_reconnect_backoff_ms": RECONNECT_MS_MAX,
      "grpc.max_receive_message_length": answerBytesMax,
      "grpc.enable_retries": 0,
      "grpc.use_local_subchannel_pool": 1,
    });
    this.clients[member] = client;
    return client;
  }

  /** Waits for calls under way; watches end. */
  async close(): Promise<void> {
    this.closed = true;
    await this.gate.close();
    for (const cancel of this.streams) cancel();
    for (const client of this.clients) client?.close();
  }
}
