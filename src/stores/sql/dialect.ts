import type { CallOptions, Range } from "../../store.ts";
import type { Head } from "../../entry.ts";
import type { Connection, Statement } from "./connection.ts";
import type { Row } from "./rows.ts";

/** The store's tables, quoted and with their schema. */
export interface Names {
  /** The table of entries, the one that a user names. */
  readonly entries: string;
  /** One row: schema version, epoch, watermark. */
  readonly about: string;
  /** What was removed without a tombstone. */
  readonly removals: string;
  /** For indexes and channels: the table's name without schema and quotes. */
  readonly plain: string;
}

/** Where a watch stands inside a page of changes. */
export interface Spot {
  readonly mark: string;
  readonly key: string;
}

/** One look at what was committed after `from`. */
export interface Look {
  /** Names the history; changes that it and an older look tell do not belong together when it differs. */
  readonly epoch: string;
  /** What has been trimmed, or is out of reach, was not told yet. */
  readonly missed: boolean;
  /** Everything committed up to here is told, once the pages end. */
  readonly to: string;
  readonly changes: readonly { readonly head: Head | null; readonly spot: Spot }[];
  /** There may be more up to `to`. */
  readonly full: boolean;
}

/** The order of commits, as one dialect keeps it. Positions are texts that only the dialect reads. */
export interface Feed {
  /** Whether a text of a cursor can be a position. */
  isPosition(text: string): boolean;
  now(call: CallOptions): Promise<{ readonly epoch: string; readonly at: string }>;
  look(range: Range, from: string, to: string | undefined, after: Spot | undefined, call: CallOptions): Promise<Look>;
}

/** How a feed asks: a statement on some connection of the pool. */
export type Ask = (
  call: CallOptions,
  statement: Statement,
  values: readonly (Buffer | string | null)[],
) => Promise<Row[]>;

/** What differs between the systems. Everything else is written once. */
export interface Dialect {
  readonly name: "postgres" | "cockroach";
  /** Removes expired entries by itself. */
  readonly expiry: boolean;
  /** The largest value taken when no option says otherwise, in bytes. */
  readonly valueBytesMax: number;
  readonly valueBytesLimit: number;
  /** Statements that every session begins with. */
  readonly session: string;
  /** The statements of each schema version, from version 1 on. */
  readonly migrations: readonly (readonly string[])[];
  /** Statements for an index on the metadata; they do nothing where there is one. */
  readonly metaIndex: readonly string[];
  /** An expression that changes whenever the data may have gone back: another server start, another table. */
  readonly place: string;
  /** Answers whether a commit survives a power loss; undefined: it always does. */
  readonly durable: Statement | undefined;
  readonly statements: Statements;
  feed(ask: Ask, store: string): Feed;
  /** How a connection of its own learns at once that something changed; undefined when it cannot. */
  readonly hints: HintSource | undefined;
  /** For reads that allow an age: how old its answers may be, in milliseconds, and the statements. */
  readonly followers: { readonly ageMs: number; readonly one: Statement; readonly many: Statement } | undefined;
}

/** Where the systems' SQL differs inside statements that they otherwise share. */
export interface Syntax {
  /** What the column `tx` is set to: the order of commits. */
  readonly commit: string;
  /** A statement may meet rows that are newer than its snapshot: conditions are then decided on the row itself. */
  readonly readCommitted: boolean;
  /** Which rows are there for readers; expired ones that wait for their removal are not. */
  readonly alive: string;
}

export interface HintSource {
  /** Startup options of that connection. */
  readonly options: string | undefined;
  /** Rings from now on, until the connection ends. It may ring too often, and may miss what it likes. */
  begin(connection: Connection, ring: () => void): Promise<void>;
  /** What writers send after their commits; undefined when commits tell of themselves. */
  readonly tell: Statement | undefined;
}

export interface Statements {
  readonly one: Statement;
  readonly many: Statement;
  /** For one write without a condition: a row if it was stored, none if `write` must say why not. */
  readonly store: Statement;
  /** For one write, and for many. */
  readonly write: readonly [Statement, Statement];
  /** As `write`, with conditions. */
  readonly writeIf: readonly [Statement, Statement];
  /** As `writeIf` for many, inside a transaction: races and collisions are told, not undone. */
  readonly decide: Statement;
  readonly overwrite: Statement;
  readonly forget: Statement;
  readonly trim: Statement;
  readonly keys: Statement;
  readonly heads: Statement;
  readonly values: Statement;
}
