import type { ClientConfig } from "pg";
import { forCaller } from "../../caller.ts";
import { SyncError } from "../../error.ts";
import type { Runtime, Timer } from "../../runtime.ts";
import { aborted, checkCall, closedError } from "../../store.ts";
import type { CallOptions } from "../../store.ts";
import { Connection } from "./connection.ts";
import { sqlFailure } from "./failures.ts";

export interface PoolOptions {
  readonly runtime: Runtime;
  /** The store's, for messages. */
  readonly name: string;
  readonly config: ClientConfig;
  /** What every session is told first. */
  readonly session: string;
  /** How many connections at most. */
  readonly connections: number;
  /** How many calls may wait for one; more are refused. */
  readonly waitingMax: number;
  /** No call takes longer, in milliseconds, whatever its own deadline. */
  readonly timeoutMs: number;
  /** A connection unused for so long is closed, in milliseconds. */
  readonly idleMs: number;
}

/** A call that waits: it gets a connection, or leave to open one, or an error. */
interface Waiter {
  give(connection: Connection | undefined): void;
  refuse(error: SyncError): void;
}

/** A bounded number of connections, and a bounded number of calls that wait for one. */
export class Pool {
  private readonly options: PoolOptions;
  private readonly idle: { readonly connection: Connection; readonly timer: Timer }[] = [];
  private readonly waiting = new Set<Waiter>();
  private readonly busy = new Set<Promise<unknown>>();
  /** Open, being opened, or promised to a waiter. */
  private count = 0;
  private closing: Promise<void> | undefined = undefined;

  constructor(options: PoolOptions) {
    this.options = options;
  }

  /**
   * `work` on a connection of its own. When the deadline passes the connection is cut, so that neither side goes on;
   * on the signal the caller is let go at once and the statement ends by itself, at the latest by its time limit.
   */
  async use<T>(operation: string, call: CallOptions, work: (connection: Connection) => Promise<T>): Promise<T> {
    const { runtime, name, timeoutMs } = this.options;
    if (this.closing !== undefined) throw closedError(name, operation);
    checkCall(runtime, call, name, operation);
    const deadline = Math.min(call.deadline ?? Infinity, runtime.monotonic() + timeoutMs);
    const task = this.run(operation, deadline, call.signal, work);
    this.busy.add(task);
    task.catch(() => undefined).finally(() => this.busy.delete(task));
    return forCaller(task, { signal: call.signal }, runtime, name, operation);
  }

  /** A connection outside the pool's count, for a subscription. Not given back: end or destroy it. */
  open(deadline: number, options: string | undefined): Promise<Connection> {
    return this.connect("watch", deadline, options === undefined ? {} : { options });
  }

  /** Waits for calls under way, which all have a deadline. Idempotent. */
  close(): Promise<void> {
    this.closing ??= this.shut();
    return this.closing;
  }

  private async shut(): Promise<void> {
    const { runtime, name } = this.options;
    for (const waiter of this.waiting) waiter.refuse(closedError(name, "close"));
    while (this.busy.size > 0) await Promise.allSettled(this.busy);
    await Promise.all(
      this.idle.splice(0).map(({ connection, timer }) => {
        timer.cancel();
        return connection.end(runtime);
      }),
    );
  }

  private async run<T>(
    operation: string,
    deadline: number,
    signal: AbortSignal | undefined,
    work: (connection: Connection) => Promise<T>,
  ): Promise<T> {
    const { runtime, name } = this.options;
    const connection = await this.take(operation, deadline, signal);
    let late = false;
    let timer: Timer | undefined;
    const passed = new Promise<never>((_, reject) => {
      timer = runtime.timer(deadline - runtime.monotonic(), () => {
        late = true;
        connection.destroy();
        reject(timeout(name, operation));
      });
    });
    try {
      return await Promise.race([work(connection), passed]);
    } catch (error) {
      throw late ? timeout(name, operation) : sqlFailure(error, { store: name, operation });
    } finally {
      timer?.cancel();
      this.giveBack(connection);
    }
  }

  private async take(operation: string, deadline: number, signal: AbortSignal | undefined): Promise<Connection> {
    const ready = this.idle.pop();
    if (ready !== undefined) {
      ready.timer.cancel();
      return ready.connection;
    }
    if (this.count < this.options.connections) this.count++;
    else {
      const given = await this.wait(operation, deadline, signal);
      if (given !== undefined) return given;
    }
    try {
      return await this.connect(operation, deadline);
    } catch (error) {
      this.free();
      throw error;
    }
  }

  private wait(operation: string, deadline: number, signal: AbortSignal | undefined): Promise<Connection | undefined> {
    const { runtime, name, waitingMax, connections } = this.options;
    if (this.waiting.size >= waitingMax) {
      const what = `${connections} connections are busy and ${waitingMax} calls wait`;
      const cure = "slow down, send larger batches, or raise `connections`";
      throw new SyncError("OVERLOADED", what, { store: name, operation, cure });
    }
    return new Promise((resolve, reject) => {
      const settle = () => {
        this.waiting.delete(waiter);
        timer.cancel();
        signal?.removeEventListener("abort", onAbort);
      };
      const waiter: Waiter = {
        give(connection) {
          settle();
          resolve(connection);
        },
        refuse(error) {
          settle();
          reject(error);
        },
      };
      const timer = runtime.timer(deadline - runtime.monotonic(), () => waiter.refuse(timeout(name, operation)));
      const onAbort = () => waiter.refuse(aborted(signal as AbortSignal, name, operation));
      signal?.addEventListener("abort", onAbort, { once: true });
      this.waiting.add(waiter);
    });
  }

  private async connect(operation: string, deadline: number, more: ClientConfig = {}): Promise<Connection> {
    const { runtime, name, config, session } = this.options;
    const connection = new Connection({ ...config, ...more });
    let late = false;
    const timer = runtime.timer(deadline - runtime.monotonic(), () => {
      late = true;
      connection.destroy();
    });
    try {
      await connection.client.connect();
      await connection.execute(session);
      return connection;
    } catch (error) {
      connection.destroy();
      throw late ? timeout(name, operation) : sqlFailure(error, { store: name, operation });
    } finally {
      timer.cancel();
    }
  }

  private giveBack(connection: Connection): void {
    if (!connection.usable) return this.free();
    const [next] = this.waiting;
    if (next !== undefined) return next.give(connection);
    const { runtime, idleMs } = this.options;
    const leave = () => {
      const at = this.idle.findIndex((item) => item.connection === connection);
      if (at < 0) return;
      this.idle[at]?.timer.cancel();
      this.idle.splice(at, 1);
      this.free();
    };
    const retire = () => {
      leave();
      void connection.end(runtime);
    };
    connection.onEnd = leave;
    this.idle.push({ connection, timer: runtime.timer(idleMs, retire, true) });
  }

  /** A place became free: the next waiter may open a connection. */
  private free(): void {
    const [next] = this.waiting;
    if (next === undefined) this.count--;
    else next.give(undefined);
  }
}

function timeout(store: string, operation: string): SyncError {
  return new SyncError("TIMEOUT", "the deadline passed", {
    store,
    operation,
    cure: "what was sent may still take effect",
  });
}
