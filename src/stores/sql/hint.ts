import type { Runtime } from "../../runtime.ts";
import type { Connection } from "./connection.ts";

/** How often at most the connection is opened, in milliseconds. */
const REOPEN_MS = 5000;

/**
 * The one connection that listens, while somebody watches. It only rings the bell: whatever it misses is found by the
 * next look, so its failures are nobody's failure, and it is opened again with a later look.
 */
export class Hints {
  private readonly runtime: Runtime;
  private readonly open: () => Promise<Connection>;
  private connection: Connection | undefined = undefined;
  private opening: Promise<void> | undefined = undefined;
  private ending: Promise<void> | undefined = undefined;
  private watchers = 0;
  private closed = false;

  private openedMs = -Infinity;

  /** @param open Gives a connection that listens already. */
  constructor(runtime: Runtime, open: () => Promise<Connection>) {
    this.runtime = runtime;
    this.open = open;
  }

  enter(): void {
    if (this.watchers++ === 0) this.openedMs = -Infinity;
    this.ensure();
  }

  /** The last watcher to leave ends the listening. Nobody waits for that but `close`: the server may not answer. */
  leave(): void {
    this.watchers--;
    if (this.watchers === 0) this.ending = this.end();
  }

  /** Ends the listening whoever watches still. */
  async close(): Promise<void> {
    this.closed = true;
    this.watchers = 0;
    await this.end();
    await this.ending;
  }

  private async end(): Promise<void> {
    await this.opening;
    if (this.watchers > 0) return;
    const { connection } = this;
    this.connection = undefined;
    await connection?.end(this.runtime);
  }

  /** Listens again if the connection was lost, but not over and over where that is refused. */
  ensure(): void {
    if (this.closed || this.connection?.usable === true || this.opening !== undefined) return;
    if (this.runtime.monotonic() - this.openedMs < REOPEN_MS) return;
    this.openedMs = this.runtime.monotonic();
    this.opening = this.listen().finally(() => {
      this.opening = undefined;
    });
  }

  private async listen(): Promise<void> {
    try {
      this.connection = await this.open();
    } catch {
      this.connection = undefined; // the looks go on without
    }
  }
}
