import { compareKeys } from "../entry.ts";
import type { Head } from "../entry.ts";
import { SyncError } from "../error.ts";
import type { CallOptions, Listed, Store } from "../store.ts";

/** What the two sides list of one key; one of them has it. */
export interface Pair {
  readonly key: string;
  readonly from: Head | undefined;
  readonly to: Head | undefined;
}

export interface Span {
  readonly prefix: string;
  /** Only keys after this one. */
  readonly after: string | undefined;
  /** Only keys up to this one. */
  readonly until: string | undefined;
}

/**
 * Two lists as one, in the order of the keys: each side's next item is all that is held of it.
 * @throws SyncError what a list throws, and UNAVAILABLE where one is partial: what is not seen cannot be told from what is
 * not there.
 */
export async function* pairs(from: Store, to: Store, span: Span, options: CallOptions): AsyncGenerator<Pair, void> {
  const [left, right] = [new Side(from, span, options), new Side(to, span, options)];
  try {
    await Promise.all([left.step(), right.step()]);
    for (;;) {
      const [a, b] = [left.head, right.head];
      const order = a === undefined ? 1 : b === undefined ? -1 : compareKeys(a.key, b.key);
      const first = order <= 0 ? a : b;
      if (first === undefined) return;
      const { key } = first;
      yield { key, from: order <= 0 ? a : undefined, to: order >= 0 ? b : undefined };
      if (order === 0) await Promise.all([left.step(), right.step()]);
      else await (order < 0 ? left : right).step();
    }
  } finally {
    await Promise.all([left.leave(), right.leave()]);
  }
}

/** One list, with its next item in hand. */
class Side {
  head: Head | undefined = undefined;
  private last: string | undefined;
  private readonly store: Store;
  private readonly until: string | undefined;
  private readonly items: AsyncIterator<Listed>;

  constructor(store: Store, { prefix, after, until }: Span, options: CallOptions) {
    this.store = store;
    this.until = until;
    this.last = after;
    this.items = store.list({ prefix }, { ...options, after, detail: "entries" })[Symbol.asyncIterator]();
  }

  async step(): Promise<void> {
    const next = await this.items.next();
    this.head = undefined;
    if (next.done === true) return;
    const item = next.value;
    if (item.kind === "partial") throw this.incomplete(item.from, item.error);
    const { key, head } = item;
    // Out of order, a key that comes late would count as one that is not there.
    if (head === null || (this.last !== undefined && compareKeys(key, this.last) <= 0)) throw this.wrong(key);
    this.last = key;
    if (this.until === undefined || compareKeys(key, this.until) <= 0) this.head = head;
  }

  async leave(): Promise<void> {
    await this.items.return?.();
  }

  private incomplete(layer: string, cause: SyncError): SyncError {
    return new SyncError("UNAVAILABLE", `the list is partial: ${layer} could not be listed`, {
      store: this.store.name,
      operation: "list",
      cure: "try again when every layer answers",
      cause,
    });
  }

  private wrong(key: string): SyncError {
    const what = "the list is not in the order of the keys, or tells no entries";
    return new SyncError("INTERNAL", what, { store: this.store.name, operation: "list", key });
  }
}
