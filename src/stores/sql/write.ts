import { SyncError } from "../../error.ts";
import { randomBelow, sleep } from "../../runtime.ts";
import type { Runtime } from "../../runtime.ts";
import type { Entry } from "../../entry.ts";
import { STORED } from "../../store.ts";
import type { Write, WriteResult } from "../../store.ts";
import type { Version } from "../../version.ts";
import { boolArray, byteaArray, bytes, int8Array, jsonbArray, textArray, uuidArray } from "./arrays.ts";
import type { Connection, Parameter } from "./connection.ts";
import { decide } from "./decide.ts";
import type { Decision } from "./decide.ts";
import type { Statements } from "./dialect.ts";
import { isContention, stateOf } from "./failures.ts";
import { keyBytes, metaText, versionText } from "./rows.ts";
import { CONTENDED } from "./write-statement.ts";

/** How often a transaction is tried that others were faster than, and the longest wait between, in milliseconds. */
export const ATTEMPTS_MAX = 40;
const BASE_MS = 4;
const WAIT_MS_MAX = 250;
/** How many bytes of values one statement carries at most, one value excepted. */
const STATEMENT_BYTES_MAX = 32 * 1024 * 1024;

export interface Writing {
  readonly runtime: Runtime;
  readonly statements: Statements;
  readonly store: string;
  /** Told the SQLSTATE of each retry, so that they can be counted. */
  readonly onRetry: ((state: string) => void) | undefined;
}

/**
 * The writes of one call, all or none. Different keys are one statement. Only where a key comes twice, a batch is very
 * large, another transaction came between or a version was issued twice, several statements share a transaction.
 */
export async function writeAll(on: Connection, writes: readonly Write[], use: Writing): Promise<WriteResult[]> {
  const rounds = roundsOf(writes);
  const [only] = rounds;
  if (only === undefined) return [];
  if (rounds.length === 1) {
    const decisions = await tryOne(on, only, use);
    if (decisions !== undefined) return resultsOf(writes, only, decisions);
  }
  return retrying(use, () =>
    transaction(on, async () => {
      const results: WriteResult[] = [];
      for (const round of rounds) {
        for (const [at, result] of await settleRound(on, round, use)) results[at] = result;
      }
      return results;
    }),
  );
}

/** A write and its place in the call. */
type Placed = readonly [at: number, write: Write];

/** The n-th write of a key goes into the n-th round, so that each sees the one before. */
function roundsOf(writes: readonly Write[]): Placed[][] {
  const seen = new Map<string, number>();
  const rounds: Placed[][] = [];
  for (const [at, write] of writes.entries()) {
    const nth = seen.get(write.entry.key) ?? 0;
    seen.set(write.entry.key, nth + 1);
    (rounds[nth] ??= []).push([at, write]);
  }
  return rounds.flatMap(split);
}

function split(round: readonly Placed[]): Placed[][] {
  const parts: Placed[][] = [[]];
  let size = 0;
  for (const placed of round) {
    const length = placed[1].entry.value?.length ?? 0;
    if (size + length > STATEMENT_BYTES_MAX && size > 0) {
      parts.push([]);
      size = 0;
    }
    size += length;
    parts.at(-1)?.push(placed);
  }
  return parts;
}

/** Undefined when the statement met a race or a collision and undid itself. */
async function tryOne(on: Connection, round: readonly Placed[], use: Writing): Promise<Decision[] | undefined> {
  try {
    return await retrying(use, () => send(on, round, true, use));
  } catch (error) {
    if (stateOf(error) !== CONTENDED) throw error;
    use.onRetry?.(CONTENDED);
    return undefined;
  }
}

function resultsOf(writes: readonly Write[], round: readonly Placed[], decisions: readonly Decision[]): WriteResult[] {
  const results: WriteResult[] = writes.map(() => ({ status: "stored" }));
  for (const [i, [at]] of round.entries()) {
    const decision = decisions[i];
    if (decision?.kind !== "settled") throw new SyncError("INTERNAL", "a statement gave a batch without its results");
    results[at] = decision.result;
  }
  return results;
}

/** Inside a transaction: looks again until every write of the round is decided. */
async function settleRound(on: Connection, round: readonly Placed[], use: Writing): Promise<[number, WriteResult][]> {
  const results: [number, WriteResult][] = [];
  let open: readonly Placed[] = round;
  for (let attempt = 0; open.length > 0; attempt++) {
    if (attempt === ATTEMPTS_MAX) throw busy(use.store);
    const decisions = await send(on, open, false, use);
    const left: Placed[] = [];
    for (const [i, placed] of open.entries()) {
      const decision = decisions[i] ?? { kind: "again" };
      if (decision.kind === "settled") results.push([placed[0], decision.result]);
      else if (decision.kind === "overwrite" && (await overwrite(on, placed[1].entry, decision.held, use))) {
        results.push([placed[0], { status: "stored" }]);
      } else left.push(placed);
    }
    open = left;
  }
  return results;
}

/** @param undoes Whether a race or a collision fails the statement, so that nothing of the round is stored. */
async function send(on: Connection, round: readonly Placed[], undoes: boolean, use: Writing): Promise<Decision[]> {
  const { statements, runtime, store } = use;
  const writes = round.map(([, write]) => write);
  const now = runtime.now();
  const conditional = !undoes || writes.some((write) => write.if !== undefined);
  const [one, many] = conditional ? statements.writeIf : statements.write;
  const [only] = writes;
  const alone = undoes && writes.length === 1 && only !== undefined;
  if (alone && !conditional && (await on.query(statements.store, single(only, false, now))).length > 0) {
    return [STORED_AT_ONCE];
  }
  const statement = alone ? one : undoes ? many : statements.decide;
  const rows = await on.query(statement, alone ? single(only, conditional, now) : columns(writes, conditional, now));
  const decisions: Decision[] = writes.map(() => STORED_AT_ONCE);
  let decided = undoes ? 0 : rows.length;
  for (const row of rows) {
    const n = Number(row[0]);
    if (n > 0) decisions[n - 1] = decide(row, writes[n - 1] as Write, now, store);
    else decided = -n;
  }
  if (decided !== writes.length) throw emptied(store);
  return decisions;
}

const STORED_AT_ONCE: Decision = { kind: "settled", result: STORED };

function single(write: Write, conditional: boolean, now: number): Parameter[] {
  const { key, value, state, version, expires, meta } = write.entry;
  const held = value === null ? null : bytes(value);
  const values = [keyBytes(key), held, state, versionText(version), expires, metaText(meta)];
  const wanted = wantedOf(write);
  return conditional ? [...values, write.if === "absent", wanted && versionText(wanted), now] : values;
}

function columns(writes: readonly Write[], conditional: boolean, now: number): Parameter[] {
  const entries = writes.map(({ entry }) => entry);
  const values = [
    byteaArray(entries.map(({ key }) => keyBytes(key))),
    byteaArray(entries.map(({ value }) => value)),
    textArray(entries.map(({ state }) => state)),
    uuidArray(entries.map(({ version }) => version)),
    int8Array(entries.map(({ expires }) => expires)),
    jsonbArray(entries.map(({ meta }) => metaText(meta))),
  ];
  if (!conditional) return values;
  return [...values, boolArray(writes.map((write) => write.if === "absent")), uuidArray(writes.map(wantedOf)), now];
}

function wantedOf({ if: condition }: Write): Version | null {
  return condition === undefined || condition === "absent" ? null : condition;
}

/** False when the row is no longer what it was. */
async function overwrite(on: Connection, entry: Entry, held: Entry, { statements }: Writing): Promise<boolean> {
  const content = ({ value, state, expires, meta }: Entry) => ({
    value: value === null ? null : bytes(value),
    state,
    expires,
    meta: metaText(meta),
  });
  const [next, before] = [content(entry), content(held)];
  const rows = await on.query(statements.overwrite, [
    keyBytes(entry.key),
    next.value,
    next.state,
    next.expires,
    next.meta,
    versionText(entry.version),
    before.state,
    before.expires,
    before.value,
    before.meta,
  ]);
  return rows.length > 0;
}

/** Everything in one transaction; undone when anything fails. */
export async function transaction<T>(on: Connection, work: () => Promise<T>): Promise<T> {
  await on.execute("BEGIN");
  try {
    const result = await work();
    await on.execute("COMMIT");
    return result;
  } catch (error) {
    // A connection whose transaction cannot be ended must not be used again: closing it ends it.
    await on.execute("ROLLBACK").catch(() => on.destroy());
    throw error;
  }
}

/** Again with full jitter while others were faster: the server promises that the failed one had no effect. */
export async function retrying<T>({ runtime, store, onRetry }: Writing, work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      if (!isContention(error)) throw error;
      if (attempt === ATTEMPTS_MAX) throw busy(store);
      onRetry?.(stateOf(error) ?? "");
      await sleep(runtime, randomBelow(runtime, Math.min(WAIT_MS_MAX, BASE_MS * 2 ** Math.min(attempt, 10))));
    }
  }
}

function busy(store: string): SyncError {
  const cure = "try again, or write the same keys less often";
  const what = `other transactions were faster ${ATTEMPTS_MAX} times`;
  return new SyncError("UNAVAILABLE", what, { store, operation: "write", cure });
}

function emptied(store: string): SyncError {
  return new SyncError("NOT_FOUND", "the store's own row is gone: its tables were emptied", {
    store,
    operation: "write",
    cure: "open it again",
  });
}
