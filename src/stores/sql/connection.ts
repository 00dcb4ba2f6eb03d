import { Socket } from "node:net";
import { Client, Query } from "pg";
import type { ClientConfig } from "pg";
import type { Runtime } from "../../runtime.ts";
import { bytesFrom } from "./rows.ts";
import type { Row } from "./rows.ts";

/** A statement of the store. With a name the server parses and plans it once for each connection. */
export interface Statement {
  readonly name?: string;
  readonly text: string;
}

export type Parameter = Buffer | string | number | boolean | null;

/** Columns as the server's own text: nothing is parsed that is not asked for. */
const AS_TEXT = { getTypeParser: () => asText };
/** The type's number. Source: PostgreSQL, src/include/catalog/pg_type.dat. */
const BYTEA = 17;
/** Bytes as bytes, while the next rows are still on their way: all at the end they would hold the answer up. */
const BYTES_AS_BYTES = { getTypeParser: (oid: number) => (oid === BYTEA ? bytesFrom : asText) };

function asText(column: string): string {
  return column;
}

/** How long a polite goodbye may take, in milliseconds. */
const GOODBYE_MS = 1000;

/** One session with the server. It can be cut off at any moment, whatever the client waits for. */
export class Connection {
  /** False when it is lost: it must not be used again. */
  usable = true;
  /** Called once when the connection is lost or was destroyed. */
  onEnd: (() => void) | undefined = undefined;
  onNotification: (() => void) | undefined = undefined;
  readonly client: Client;
  private readonly socket = new Socket();

  constructor(config: ClientConfig) {
    this.client = new Client({ ...config, keepAlive: true, stream: () => this.socket });
    // Whoever waits for an answer is told by that answer's failure; without a listener the process would end.
    this.client.on("error", () => this.lost());
    this.client.on("end", () => this.lost());
    this.client.on("notification", () => this.onNotification?.());
  }

  async query({ name, text }: Statement, values: readonly Parameter[] = []): Promise<Row[]> {
    const config = {
      text,
      values: [...values],
      rowMode: "array" as const,
      types: BYTES_AS_BYTES,
      ...(name === undefined ? {} : { name }),
    };
    const { rows } = await this.client.query<(string | Uint8Array | null)[]>(
      config as typeof config & { types: never },
    );
    return rows;
  }

  /** Several statements without parameters; the last one's rows are not given. */
  async execute(text: string): Promise<void> {
    await this.client.query(text);
  }

  /** Begins a statement whose rows never end, and gives each as it comes; nothing is kept. The connection ends with it. */
  stream(text: string, onRow: (row: Readonly<Record<string, unknown>>) => void): void {
    const query = new Query<Record<string, unknown>>({ text, types: AS_TEXT });
    query.on("row", onRow);
    query.on("error", () => this.destroy());
    query.on("end", () => this.destroy());
    this.client.query(query);
  }

  /** Cuts the connection. What the server is doing for it ends within a second (see the session's settings). */
  destroy(): void {
    this.socket.destroy();
    this.lost();
  }

  /** Says goodbye, or cuts the connection when the server does not answer. */
  async end(runtime: Runtime): Promise<void> {
    const timer = runtime.timer(GOODBYE_MS, () => this.destroy());
    await this.client.end().catch(() => undefined);
    timer.cancel();
    this.destroy();
  }

  private lost(): void {
    if (!this.usable) return;
    this.usable = false;
    this.onEnd?.();
  }
}
