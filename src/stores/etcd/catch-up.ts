import type { Range } from "../../store.ts";
import type { Call } from "./connection.ts";
import type { History } from "./history.ts";
import type { Layout } from "./layout.ts";
import { ASCEND, RANGE, SORT_BY_MOD, TXN } from "./messages.ts";
import type { KeyValue, RangeRequest } from "./messages.ts";
import { reasonOf } from "./failures.ts";
import type { EtcdReader } from "./reading.ts";

export interface Past {
  readonly layout: Layout;
  readonly history: History;
  readonly reader: EtcdReader;
}

export interface PastChange {
  readonly key: string;
  /** Undefined: it was removed. */
  readonly kv: KeyValue | undefined;
  /** Everything up to this revision was told. */
  readonly revision: number;
}

/** More than the operations of one transaction, so that a page holds at least one revision whole. */
const PAGE_ROWS = 512;
const CREATED_MAX = 4096;

/**
 * What changed in a range after one revision, up to another: each key once. It is read from the state at both, since
 * no version of etcd before 3.4.25 and 3.5.8 says reliably when a stream that begins in the past has caught up.
 * @throws EtcdError of reason "gone" when either revision was compacted.
 */
export async function* changesSince(
  past: Past,
  range: Range,
  from: number,
  until: number,
  callOf: () => Call,
): AsyncIterable<PastChange> {
  if (await lostKeys(past, range, from, until, callOf())) yield* removals(past, range, from, until, callOf);
  let told = from;
  for (;;) {
    const page = await changedPage(past, range, told, until, callOf());
    for (const [i, kv] of page.kvs.entries()) {
      const key = past.layout.keyOf(kv.key);
      const whole = page.kvs[i + 1]?.modRevision !== kv.modRevision;
      if (whole) told = kv.modRevision;
      if (key !== undefined) yield { key, kv, revision: whole ? told : kv.modRevision - 1 };
    }
    if (!page.more) return;
  }
}

/** Whether a key of then is not there any more, by counting: those of then, those of now, and those that are new. */
async function lostKeys(past: Past, range: Range, from: number, until: number, call: Call): Promise<boolean> {
  const span = past.layout.span(range.prefix);
  const created: RangeRequest = {
    ...span,
    revision: until,
    minCreateRevision: from + 1,
    keysOnly: true,
    limit: CREATED_MAX,
  };
  const count = (revision: number): RangeRequest => ({ ...span, revision, countOnly: true });
  try {
    const success = [{ range: count(from) }, { range: count(until) }, { range: created }];
    const { answer } = await past.history.ask(TXN, { success }, call);
    const [before, now, fresh] = answer.responses.map(({ range }) => range);
    if (before === undefined || now === undefined || fresh === undefined || fresh.more) return true;
    return before.count + fresh.kvs.length !== now.count;
  } catch (error) {
    if (reasonOf(error) === "answer") return true;
    throw error;
  }
}

/** The keys of then that are not there now, by walking both in step. */
async function* removals(
  { reader }: Past,
  range: Range,
  from: number,
  until: number,
  callOf: () => Call,
): AsyncIterable<PastChange> {
  const now = reader.rows(range, { keysOnly: true, revision: until }, callOf)[Symbol.asyncIterator]();
  let next = await now.next();
  for await (const { key, kv } of reader.rows(range, { keysOnly: true, revision: from }, callOf)) {
    while (next.done !== true && Buffer.compare(next.value.kv.key, kv.key) < 0) next = await now.next();
    if (next.done === true || Buffer.compare(next.value.kv.key, kv.key) !== 0) {
      yield { key, kv: undefined, revision: from };
    }
  }
}

/** The next entries that changed, in the order of their revisions, none of them half. */
async function changedPage({ layout, history }: Past, range: Range, after: number, until: number, call: Call) {
  const request: RangeRequest = {
    ...layout.span(range.prefix),
    revision: until,
    minModRevision: after + 1,
    maxModRevision: until,
    sortOrder: ASCEND,
    sortTarget: SORT_BY_MOD,
  };
  let rows = PAGE_ROWS;
  let shrunk = false;
  for (;;) {
    try {
      const { answer } = await history.ask(RANGE, { ...request, limit: rows }, call);
      const last = answer.kvs.at(-1)?.modRevision;
      if (!answer.more || last === undefined) return { kvs: answer.kvs, more: false };
      const kvs = answer.kvs.filter(({ modRevision }) => modRevision !== last);
      if (kvs.length > 0) return { kvs, more: true };
      rows = shrunk ? rows + 1 : rows * 2; // all of one revision, which a request wrote and so an answer holds
    } catch (error) {
      if (reasonOf(error) !== "answer" || rows === 1) throw error;
      shrunk = true;
      rows = rows >> 1;
    }
  }
}
