import type { Runtime } from "../../runtime.ts";
import type { Bell } from "./bell.ts";
import type { Connection } from "./connection.ts";

/**
 * The one connection that listens, while somebody watches. It only rings the bell: whatever it misses is found by the
 * next look, so its failures are nobody's failure, and it is opened again with a later look.
 */
export class Hints {
  private readonly runtime: Runtime;
  private readonly bell: Bell;
  private readonly open: () => Promise<Connection>;
  private connection: Connection | undefined = undefined;
  private opening: Promise<void> | undefined = undefined;
  private watchers = 0;
  private closed = false;

  /** @param open Gives a connection that listens already. */
  constructor(runtime: Runtime, bell: Bell, open: () => Promise<Connection>) {
    this.runtime = runtime;
    this.bell = bell;
    this.open = open;
  }

  enter(): void {
    this.watchers++;
    this.ensure();
  }

  /** The last watcher to leave ends the listening. */
  async leave(): Promise<void> {
    this.watchers--;
    if (this.watchers > 0) return;
    await this.opening;
    if (this.watchers > 0) return;
    const { connection } = this;
    this.connection = undefined;
    await connection?.end(this.runtime);
  }

  /** Ends the listening whoever watches still. */
  async close(): Promise<void> {
    this.closed = true;
    await this.opening;
    const { connection } = this;
    this.connection = undefined;
    await connection?.end(this.runtime);
  }

  /** Listens again if the connection was lost. */
  ensure(): void {
    if (this.closed || this.connection?.usable === true || this.opening !== undefined) return;
    this.opening = this.listen().finally(() => {
      this.opening = undefined;
    });
  }

  private async listen(): Promise<void> {
    try {
      const connection = await this.open();
      connection.onNotification = () => this.bell.ring();
      this.connection = connection;
      this.bell.ring(); // for what was committed before it listened
    } catch {
      this.connection = undefined; // the looks go on without
    }
  }
}
