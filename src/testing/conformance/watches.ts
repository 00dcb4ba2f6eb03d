import type { Entry } from "../../entry.ts";
import type { Change, Range, Store, WatchOptions } from "../../store.ts";
import { claim, equal, rejects, same, show } from "../assert.ts";
import { all, dated, fillable, stubbing, writable } from "./context.ts";
import type { Check } from "./context.ts";

type KeyChange = Extract<Change, { kind: "change" }>;

/** Polling stores look as often as they can. */
const INTERVAL_MS = 1;

export const watchChecks: readonly Check[] = [
  {
    id: "watches/initial",
    title: "begins with every entry there is, tombstones too, then says that it is current, once",
    unless: fillable,
    async run(t) {
      const prefix = t.prefix();
      const entries = [t.value(`${prefix}a`, "x"), t.tombstone(`${prefix}b`), t.value(`${prefix}c/d`, "x")];
      await t.put([...entries, t.value(t.prefix(), "elsewhere")]);
      await watching(t.store, { prefix }, {}, async (watch) => {
        const { changes } = await watch.untilCurrent();
        same(newest(changes), expectedOf(entries), "the initial state");
      });
    },
  },
  {
    id: "watches/initial-empty",
    title: "says that it is current where nothing is",
    async run(t) {
      await watching(t.store, { prefix: t.prefix() }, {}, async (watch) => {
        same((await watch.untilCurrent()).changes, [], "the initial state");
      });
    },
  },
  {
    id: "watches/initial-while-writing",
    title: "misses nothing that is stored while it tells the initial state",
    unless: writable,
    async run(t) {
      const prefix = t.prefix();
      const first = Array.from({ length: 8 }, (_, i) => t.value(`${prefix}${i}`, "x"));
      await t.put(first);
      await watching(t.store, { prefix }, {}, async (watch) => {
        const changes = [await watch.change()];
        const later = [t.value(`${prefix}0`, "again"), t.tombstone(`${prefix}7`), t.value(`${prefix}8`, "new")];
        await t.put(later);
        const expected = expectedOf([...first.slice(1, 7), ...later]);
        // Current may come before or after those that were stored meanwhile.
        while (!equal(newest(changes), expected)) {
          const next = await watch.next();
          claim(next?.kind === "change" || next?.kind === "current", `the watch gave ${show(next)}`);
          if (next.kind === "change") changes.push(next);
        }
      });
    },
  },
  {
    id: "watches/without-initial",
    title: "skips what is stored already when asked to, and tells what comes after",
    unless: writable,
    async run(t) {
      const prefix = t.prefix();
      await t.put([t.value(`${prefix}before`, "x")]);
      await watching(t.store, { prefix }, { initial: false }, async (watch) => {
        same((await watch.untilCurrent()).changes, [], "before current");
        const after = t.value(`${prefix}after`, "x");
        await t.put([after]);
        same(newest([await watch.change()]), expectedOf([after]), "the change after");
      });
    },
  },
  {
    id: "watches/live",
    title: "tells every change that is stored while it is watched, and none outside its range",
    unless: writable,
    async run(t) {
      const prefix = t.prefix();
      await watching(t.store, { prefix }, {}, async (watch) => {
        await watch.untilCurrent();
        const key = `${prefix}k`;
        for (const entry of [t.value(key, "one"), t.value(key, "two"), t.tombstone(key), t.value(`${prefix}l`, "x")]) {
          await t.put([t.value(t.prefix(), "elsewhere"), entry]);
          same(newest([await watch.change()]), expectedOf([entry]), `after ${entry.state} ${entry.version}`);
        }
      });
    },
  },
  {
    id: "watches/batch",
    title: "tells every key of a batch",
    unless: writable,
    async run(t) {
      const prefix = t.prefix();
      await watching(t.store, { prefix }, {}, async (watch) => {
        await watch.untilCurrent();
        const entries = Array.from({ length: 20 }, (_, i) => t.value(`${prefix}${i}`, "x"));
        await t.put(entries);
        same(newest(await watch.untilAll(entries)), expectedOf(entries), "the changes");
      });
    },
  },
  {
    id: "watches/resume",
    title: "continues after a cursor with what was stored since, and with nothing before it",
    unless: writable,
    async run(t) {
      const prefix = t.prefix();
      const [a, b] = [t.value(`${prefix}a`, "x"), t.value(`${prefix}b`, "x")];
      await t.put([a, b]);
      const first = await current(t.store, { prefix });
      const [c, d] = [t.value(`${prefix}c`, "x"), t.tombstone(`${prefix}a`)];
      await t.put([c, d]);
      await watching(t.store, { prefix }, { cursor: first.cursor }, async (watch) => {
        const { changes, cursor } = await watch.untilCurrent();
        same(newest(changes), expectedOf([c, d]), "changes after the cursor");
        await watching(t.store, { prefix }, { cursor }, async (again) => {
          same((await again.untilCurrent()).changes, [], "changes after the last cursor");
        });
      });
    },
  },
  {
    id: "watches/resume-in-the-middle",
    title: "misses nothing when it continues after any change that it told",
    unless: writable,
    async run(t) {
      const prefix = t.prefix();
      const entries = Array.from({ length: 6 }, (_, i) => t.value(`${prefix}${i}`, "x"));
      for (const entry of entries) await t.put([entry]);
      const { changes } = await current(t.store, { prefix });
      for (const [i, { cursor }] of changes.entries()) {
        const rest = await current(t.store, { prefix }, { cursor });
        const told = newest([...changes.slice(0, i + 1), ...rest.changes]);
        same(told, expectedOf(entries), `what was told up to change ${i} and after its cursor`);
      }
    },
  },
  {
    id: "watches/late",
    title: "tells an entry that arrives late, with a version below those it has told, live and after a cursor",
    unless: writable,
    async run(t) {
      const prefix = t.prefix();
      const [late, later] = [t.value(`${prefix}late`, "x"), t.value(`${prefix}later`, "x")];
      const recent = t.value(`${prefix}recent`, "x");
      await t.put([recent]);
      await watching(t.store, { prefix }, {}, async (watch) => {
        const { cursor } = await watch.untilCurrent();
        await t.put([late]);
        same(newest([await watch.change()]), expectedOf([late]), "the late entry, live");
        await t.put([later]);
        const { changes } = await current(t.store, { prefix }, { cursor });
        same(newest(changes), expectedOf([late, later]), "the late entries, after the cursor");
      });
    },
  },
  {
    id: "watches/stub",
    title: "tells a stub, and the value that takes its place",
    unless: all(writable, stubbing),
    async run(t) {
      const prefix = t.prefix();
      const value = t.value(`${prefix}k`, "x");
      const stub = t.stub(value.key, { version: value.version });
      await watching(t.store, { prefix }, {}, async (watch) => {
        await watch.untilCurrent();
        for (const entry of [stub, value]) {
          await t.put([entry]);
          same(newest([await watch.change()]), expectedOf([entry]), `the ${entry.state}`);
        }
      });
    },
  },
  {
    id: "watches/forgotten",
    title: "tells a key that was removed without a tombstone as gone",
    unless: writable,
    async run(t) {
      const prefix = t.prefix();
      const [gone, kept] = [t.value(`${prefix}gone`, "x"), t.value(`${prefix}kept`, "x")];
      await t.put([gone, kept]);
      await watching(t.store, { prefix }, {}, async (watch) => {
        await watch.untilCurrent();
        await t.store.forget([{ key: gone.key, version: gone.version, reason: "ghost" }]);
        same(newest([await watch.change()]), [[gone.key, null]], "the removal");
      });
      same(newest((await current(t.store, { prefix })).changes), expectedOf([kept]), "a new watch");
    },
  },
  {
    id: "watches/no-news",
    title: "does not tell renewals, repeated and older writes",
    unless: writable,
    async run(t) {
      const prefix = t.prefix();
      const [older, newer] = [t.value(`${prefix}k`, "older"), t.value(`${prefix}k`, "newer")];
      const now = t.runtime.now();
      await t.write([{ entry: newer, asOf: now - 1000 }]);
      await watching(t.store, { prefix }, {}, async (watch) => {
        const { cursor } = await watch.untilCurrent();
        await t.write([{ entry: newer, asOf: now }]);
        await t.write([older, newer]);
        same((await current(t.store, { prefix }, { cursor })).changes, [], "changes after the cursor");
        const marker = t.value(`${prefix}marker`, "x");
        await t.put([marker]);
        same(newest([await watch.change()]), expectedOf([marker]), "the next live change");
      });
    },
  },
  {
    id: "watches/unknown-cursor",
    title: "answers a cursor it cannot follow with relist, and ends",
    unless: fillable,
    async run(t) {
      const prefix = t.prefix();
      await t.put([t.value(`${prefix}k`, "x")]);
      for (const cursor of ["", "no cursor of this store", "0", "999999999999999999", "-1"]) {
        const told: Change[] = [];
        for await (const change of uninterrupted(t.store.watch({ prefix }, { cursor, intervalMs: INTERVAL_MS }))) {
          told.push(change);
          if (change.kind === "current") break;
        }
        same(
          told.map(({ kind }) => kind),
          ["relist"],
          `what cursor ${show(cursor)} gives`,
        );
      }
    },
  },
  {
    id: "watches/foreign-cursor",
    title: "answers the cursor of another store of its kind with relist",
    unless: writable,
    async run(t) {
      // As many commits here, so that the cursor's place alone does not give it away.
      for (const name of ["a", "b"]) await t.put([t.value(t.prefix() + name, "x")]);
      const other = await t.fresh();
      await t.put([t.value("k", "x")], other);
      const { cursor } = await current(other.store, { prefix: "" });
      await watching(t.store, { prefix: t.prefix() }, { cursor }, async (watch) => {
        same((await watch.next())?.kind, "relist", "what it gives");
        same(await watch.next(), undefined, "after relist");
      });
    },
  },
  {
    id: "watches/many",
    title: "tells the same to several watches at once",
    unless: writable,
    async run(t) {
      const prefix = t.prefix();
      const entry = t.value(`${prefix}k`, "x");
      await watching(t.store, { prefix }, {}, (one) =>
        watching(t.store, { prefix: `${prefix}k` }, {}, async (two) => {
          await Promise.all([one.untilCurrent(), two.untilCurrent()]);
          await t.put([entry]);
          for (const watch of [one, two]) same(newest([await watch.change()]), expectedOf([entry]), "the change");
        }),
      );
    },
  },
  {
    id: "watches/abort",
    title: "ends with ABORTED when the signal comes while it waits",
    async run(t) {
      const control = new AbortController();
      const watch = new Watch(t.store, { prefix: t.prefix() }, { signal: control.signal });
      await watch.untilCurrent();
      const waiting = rejects("ABORTED", () => watch.next(), "the waiting watch");
      control.abort();
      await waiting;
    },
  },
  {
    id: "watches/close",
    title: "ends quietly when the store is closed while it waits",
    async run(t) {
      const { store } = await t.fresh();
      const watch = new Watch(store, { prefix: "" }, {});
      await watch.untilCurrent();
      const waiting = watch.next();
      await store.close();
      same(await waiting, undefined, "what the waiting watch gave");
    },
  },
  {
    id: "watches/dates",
    title: "does not tell a change twice when only asOf moved between two looks",
    unless: all(writable, dated),
    async run(t) {
      const prefix = t.prefix();
      const [entry, marker] = [t.value(`${prefix}k`, "x"), t.value(`${prefix}m`, "x")];
      await t.put([entry]);
      await watching(t.store, { prefix }, { initial: false }, async (watch) => {
        await watch.untilCurrent();
        await t.write([{ entry, asOf: t.runtime.now() + 1 }]);
        await t.put([marker]);
        same(newest([await watch.change()]), expectedOf([marker]), "the next change");
      });
    },
  },
];

/** What a watch tells beside interruptions, which may come at any time, with one more "current" after each. */
export async function* uninterrupted(changes: AsyncIterable<Change>): AsyncIterable<Change> {
  let isInterrupted = false;
  let wasCurrent = false;
  for await (const change of changes) {
    if (change.kind === "interrupted") isInterrupted = true;
    else if (change.kind !== "current") yield change;
    else {
      claim(!wasCurrent || isInterrupted, "the watch said twice that it is current");
      if (!wasCurrent) yield change;
      [isInterrupted, wasCurrent] = [false, true];
    }
  }
}

/** A watch pulled by hand. */
class Watch {
  private readonly iterator: AsyncIterator<Change>;
  private readonly control = new AbortController();

  constructor(store: Store, range: Range, options: WatchOptions) {
    const signal = options.signal ?? this.control.signal;
    const told = store.watch(range, { intervalMs: INTERVAL_MS, ...options, signal });
    this.iterator = uninterrupted(told)[Symbol.asyncIterator]();
  }

  /** Undefined at the end. */
  async next(): Promise<Change | undefined> {
    const { done, value } = await this.iterator.next();
    return done === true ? undefined : value;
  }

  /** The next change of a key. */
  async change(): Promise<KeyChange> {
    const next = await this.next();
    claim(next?.kind === "change", `the watch gave ${show(next)}, expected a change`);
    return next;
  }

  async untilCurrent(): Promise<{ changes: KeyChange[]; cursor: string }> {
    const changes: KeyChange[] = [];
    for (;;) {
      const next = await this.next();
      claim(next !== undefined, "the watch ended before it was current");
      if (next.kind === "current") return { changes, cursor: next.cursor };
      claim(next.kind === "change", `the watch gave ${show(next)} before it was current`);
      changes.push(next);
    }
  }

  /** Changes up to the one that completes these entries. */
  async untilAll(entries: readonly Entry[]): Promise<KeyChange[]> {
    const missing = new Map(entries.map(({ key, version }) => [key, version]));
    const changes: KeyChange[] = [];
    while (missing.size > 0) {
      const next = await this.change();
      changes.push(next);
      if (missing.get(next.key) === next.head?.version) missing.delete(next.key);
    }
    return changes;
  }

  /** A watch that waits ends by its signal only: `return` queues behind the waiting `next`. */
  async end(): Promise<void> {
    this.control.abort();
    await this.iterator.return?.();
  }
}

async function watching(
  store: Store,
  range: Range,
  options: WatchOptions,
  body: (watch: Watch) => Promise<void>,
): Promise<void> {
  const watch = new Watch(store, range, options);
  try {
    await body(watch);
  } finally {
    await watch.end();
  }
}

/** What a watch tells up to the moment it is current. */
async function current(store: Store, range: Range, options: WatchOptions = {}) {
  const watch = new Watch(store, range, options);
  try {
    return await watch.untilCurrent();
  } finally {
    await watch.end();
  }
}

/** Key, state and version as last told, in the order of the keys: several changes of a key may be told as one. */
function newest(changes: readonly KeyChange[]): unknown {
  const last = new Map(changes.map(({ key, head }) => [key, head && `${head.state} ${head.version}`]));
  return [...last].sort(([a], [b]) => (a < b ? -1 : 1));
}

function expectedOf(entries: readonly Entry[]): unknown {
  return entries
    .map(({ key, state, version }) => [key, `${state} ${version}`])
    .sort(([a = ""], [b = ""]) => (a < b ? -1 : 1));
}
