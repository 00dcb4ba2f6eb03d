import { SyncError } from "../../error.ts";
import { inParallel } from "../../in-parallel.ts";
import type { Runtime } from "../../runtime.ts";
import { aborted } from "../../store.ts";
import type { Answer, ListOptions, Listed, Range } from "../../store.ts";
import type { Call } from "./connection.ts";
import { asOfOf, copyOf, headOf } from "./decide.ts";
import { reasonOf } from "./failures.ts";
import type { History } from "./history.ts";
import { isEmpty } from "./layout.ts";
import type { Layout } from "./layout.ts";
import { RANGE, TXN } from "./messages.ts";
import type { KeyValue, Op, RangeRequest, RangeResponse } from "./messages.ts";
import { AT_ONCE, TXN_KEYS } from "./writing.ts";

export interface ReaderOptions {
  readonly runtime: Runtime;
  readonly store: string;
  readonly layout: Layout;
  readonly history: History;
  /** A cache keeps dates, in notes beside the copies. */
  readonly noted: boolean;
}

const PAGE_ROWS_FIRST = 64;
const PAGE_ROWS_MAX = 1000;
const PAGE_BYTES = 1024 * 1024;

export class EtcdReader {
  private readonly options: ReaderOptions;

  constructor(options: ReaderOptions) {
    this.options = options;
  }

  async read(keys: readonly string[], call: Call): Promise<Answer[]> {
    const { runtime, store, noted } = this.options;
    const asOf = runtime.now();
    const unique = [...new Set(keys)];
    const found = new Map<string, Answer>();
    const size = noted ? TXN_KEYS >> 1 : TXN_KEYS;
    const chunks = Array.from({ length: Math.ceil(unique.length / size) }, (_, i) =>
      unique.slice(i * size, (i + 1) * size),
    );
    await inParallel(chunks, AT_ONCE, (chunk) => this.readChunk(chunk, asOf, found, call));
    return keys.map((key) => {
      const answer = found.get(key);
      if (answer === undefined) throw new SyncError("INTERNAL", "a key got no answer", { store, key });
      return answer;
    });
  }

  private async readChunk(
    keys: readonly string[],
    asOf: number,
    found: Map<string, Answer>,
    call: Call,
  ): Promise<void> {
    const { store, layout, history, noted } = this.options;
    const rows: (readonly [held: KeyValue | undefined, note: KeyValue | undefined])[] = [];
    try {
      const [first] = keys;
      if (keys.length === 1 && first !== undefined && !noted) {
        const { answer } = await history.ask(RANGE, { key: layout.entry(first) }, call);
        rows.push([answer.kvs[0], undefined]);
      } else {
        const success = keys.flatMap((key): Op[] => {
          const entry = { range: { key: layout.entry(key) } };
          return noted ? [entry, { range: { key: layout.note(key) } }] : [entry];
        });
        const { answer } = await history.ask(TXN, { success }, call);
        const each = noted ? 2 : 1;
        for (let i = 0; i < keys.length; i++) {
          const note = noted ? answer.responses[i * each + 1]?.range?.kvs[0] : undefined;
          rows.push([answer.responses[i * each]?.range?.kvs[0], note]);
        }
      }
    } catch (error) {
      if (reasonOf(error) !== "answer" || keys.length === 1) throw error;
      const half = keys.length >> 1;
      await this.readChunk(keys.slice(0, half), asOf, found, call);
      return this.readChunk(keys.slice(half), asOf, found, call);
    }
    const from = { complete: true, stale: false, from: store };
    for (const [i, key] of keys.entries()) {
      const [held, note] = rows[i] ?? [];
      if (held === undefined) found.set(key, { entry: undefined, asOf, ...from });
      else {
        const copy = copyOf(key, held.value, store);
        const date = noted ? asOfOf(copy.entry.version, copy.asOf, note?.value) : asOf;
        found.set(key, { entry: copy.entry, asOf: date, ...from });
      }
    }
  }

  async *list(range: Range, options: ListOptions, callOf: () => Call): AsyncIterable<Listed> {
    const { store } = this.options;
    const { detail = "keys", after, limit = Infinity, signal } = options;
    let left = limit;
    for await (const { key, kv } of this.rows(range, { after, limit, keysOnly: detail === "keys" }, callOf)) {
      if (left-- <= 0) return;
      if (signal?.aborted === true) throw aborted(signal, store, "list");
      const tag = kv.modRevision.toString(36);
      if (detail === "keys") yield { kind: "entry", key, tag, head: null, value: null };
      else if (detail === "entries") {
        yield { kind: "entry", key, tag, head: headOf(key, kv.value, store), value: null };
      } else {
        const { entry } = copyOf(key, kv.value, store);
        yield { kind: "entry", key, tag, head: entry, value: entry.value };
      }
    }
  }

  /** The stored keys of a range, page by page; `revision` pins all pages to one moment. */
  async *rows(
    range: Range,
    options: { after?: string | undefined; limit?: number; keysOnly?: boolean; revision?: number },
    callOf: () => Call,
  ): AsyncIterable<{ readonly key: string; readonly kv: KeyValue }> {
    const { layout } = this.options;
    const { keysOnly = false, revision = 0, limit = Infinity } = options;
    let span = layout.span(range.prefix, options.after);
    let rows = Math.min(limit, keysOnly ? PAGE_ROWS_MAX : PAGE_ROWS_FIRST);
    let given = 0;
    while (given < limit && !isEmpty(span)) {
      const request: RangeRequest = { ...span, keysOnly, revision };
      const { kvs, more, taken } = await this.page(request, Math.min(rows, limit - given), callOf());
      let bytes = 0;
      for (const kv of kvs) {
        bytes += kv.value.length;
        const key = layout.keyOf(kv.key);
        if (key === undefined) continue; // another program's
        given++;
        yield { key, kv };
      }
      const last = kvs.at(-1);
      if (!more || last === undefined) return;
      span = { key: Buffer.concat([last.key, Uint8Array.of(0)]), rangeEnd: span.rangeEnd };
      const average = bytes / kvs.length;
      rows = keysOnly ? rows : Math.max(1, Math.min(PAGE_ROWS_MAX, taken * 4, Math.floor(PAGE_BYTES / (average + 1))));
    }
  }

  /** One page; smaller when the answer would be too large. */
  private async page(
    request: RangeRequest,
    rows: number,
    call: Call,
  ): Promise<Pick<RangeResponse, "kvs" | "more"> & { readonly taken: number }> {
    for (let limit = rows; ; limit = limit >> 1) {
      try {
        const { answer } = await this.options.history.ask(RANGE, { ...request, limit }, call);
        return { kvs: answer.kvs, more: answer.more, taken: limit };
      } catch (error) {
        if (reasonOf(error) !== "answer" || limit <= 1) throw error;
      }
    }
  }
}
