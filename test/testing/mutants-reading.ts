import type { Copy, Entry } from "../../src/entry.ts";
import { SyncError } from "../../src/error.ts";
import type { Answer, CallOptions, Forget, ListOptions, Range, ReadOptions, Write } from "../../src/store.ts";
import { ReferenceStore, referenceState } from "../../src/testing/index.ts";
import type { ReferenceOptions } from "../../src/testing/index.ts";
import type { Mutant } from "./mutants.ts";

type Options = CallOptions | undefined;

/** A store that takes keys with one image for the same key. */
function folding(fold: (key: string) => string): Mutant["store"] {
  return class extends ReferenceStore {
    override async read(keys: readonly string[], options?: ReadOptions) {
      const found = await super.read(
        keys.map((key) => (key === "" ? key : fold(key))),
        options,
      );
      // The key comes from the question, as in stores that do not keep it.
      return found.map((answer, i) => ({
        ...answer,
        entry: answer.entry && { ...answer.entry, key: keys[i] as string },
      }));
    }
    override write(writes: readonly Write[], options: Options) {
      return super.write(
        writes.map((write) => ({ ...write, entry: { ...write.entry, key: fold(write.entry.key) } })),
        options,
      );
    }
    override forget(items: readonly Forget[], options: Options) {
      return super.forget(
        items.map((item) => ({ ...item, key: fold(item.key) })),
        options,
      );
    }
  };
}

const answering = (change: (answer: Answer) => Partial<Answer>): Mutant["store"] =>
  class extends ReferenceStore {
    protected override answer(key: string): Answer {
      const answer = super.answer(key);
      return { ...answer, ...change(answer) };
    }
  };

const giving = (change: (entry: Entry) => Partial<Entry>): Mutant["store"] =>
  class extends ReferenceStore {
    protected override give(entry: Entry): Entry {
      return { ...entry, ...change(entry) };
    }
  };

const shared = referenceState();
const text = {
  decode: (bytes: Uint8Array) => new TextDecoder().decode(bytes),
  encode: (s: string) => new TextEncoder().encode(s),
};

export const readMutants: readonly Mutant[] = [
  {
    fault: "takes keys for Unicode text and normalises them",
    kills: ["keys/weird", "keys/absent-neighbours"],
    store: folding((key) => key.normalize("NFC")),
  },
  {
    fault: "does not tell case apart",
    kills: ["keys/weird", "keys/absent-neighbours"],
    store: folding((key) => key.toLowerCase()),
  },
  {
    fault: "takes keys for paths and cleans them",
    kills: ["keys/weird", "keys/random", "keys/absent-neighbours"],
    store: folding((key) => key.replaceAll(/\/+/g, "/").replace(/(?<=.)\/$/, "")),
  },
  {
    fault: "ends a key at NUL",
    kills: ["keys/weird", "keys/random"],
    store: folding((key) => key.split("\0")[0] || key),
  },
  {
    fault: "says that an absent key has an age unknown",
    kills: ["states/absent"],
    store: answering(({ entry }) => (entry === undefined ? { asOf: 0 } : {})),
  },
  { fault: "calls its answers stale", kills: ["states/absent"], store: answering(() => ({ stale: true })) },
  { fault: "calls its answers incomplete", kills: ["states/absent"], store: answering(() => ({ complete: false })) },
  {
    fault: "reports a failure as a miss",
    kills: ["calls/late", "calls/aborted-before", "calls/closed"],
    store: class extends ReferenceStore {
      override async read(keys: readonly string[], options?: ReadOptions) {
        return super.read(keys, options).catch(() => keys.map((key) => super.answer(`${key} is not here`)));
      }
    },
  },
  {
    fault: "answers each key once, in order",
    kills: ["batches/order"],
    store: class extends ReferenceStore {
      override read(keys: readonly string[], options?: ReadOptions) {
        return super.read([...new Set(keys)].sort(), options);
      }
    },
  },
  {
    fault: "judges expiry itself",
    kills: ["states/expired"],
    store: answering(({ entry }) =>
      entry?.expires !== null && (entry?.expires ?? Infinity) <= 1_700_000_000_000 ? { entry: undefined } : {},
    ),
  },
  {
    fault: "drops asOf",
    kills: ["states/as-of-stored", "states/as-of-renewed"],
    store: answering(() => ({ asOf: 1_700_000_000_000 })),
  },
  {
    fault: "answers with the asOf written where it says that it keeps none",
    kills: ["states/as-of-known"],
    supports: { asOf: "known" },
    store: class extends ReferenceStore {
      protected override answer(key: string): Answer {
        return { ...super.answer(key), asOf: this.state.copies.get(key)?.asOf ?? this.runtime.now() };
      }
    },
  },
  {
    fault: "takes values for text",
    kills: ["values/bytes"],
    store: giving(({ value }) => ({ value: value && text.encode(text.decode(value)) })),
  },
  {
    fault: "takes an empty value for none",
    kills: ["values/bytes"],
    store: giving(({ value }) => (value?.length === 0 ? { state: "deleted", value: null } : {})),
  },
  {
    fault: "keeps the metadata of values only",
    kills: ["values/meta", "states/tombstone"],
    store: giving(({ state }) => (state === "value" ? {} : { meta: {} })),
  },
  {
    fault: "keeps expiry in seconds",
    kills: ["values/version-and-expiry"],
    store: giving(({ expires }) => ({ expires: expires && Math.ceil(expires / 1000) * 1000 })),
  },
  {
    fault: "takes stubs for tombstones",
    kills: ["states/stub"],
    store: giving(({ state }) => (state === "stub" ? { state: "deleted" } : {})),
  },
  {
    fault: "shares its data with every store of its kind",
    kills: ["life/apart"],
    store: class extends ReferenceStore {
      constructor(options: ReferenceOptions) {
        super({ ...options, state: shared });
      }
    },
  },
];

export const listMutants: readonly Mutant[] = [
  {
    fault: "lists in the order of UTF-16",
    kills: ["lists/order", "keys/weird", "lists/after"],
    store: class extends ReferenceStore {
      protected override compare = (a: string, b: string) => (a < b ? -1 : Number(a > b));
    },
  },
  {
    fault: "lists in the order of arrival",
    kills: ["lists/order", "lists/limit", "lists/left-early"],
    store: class extends ReferenceStore {
      protected override keys({ prefix }: Range) {
        return [...this.state.copies.keys()].filter((key) => key.startsWith(prefix));
      }
    },
  },
  {
    fault: "takes a prefix for a pattern",
    kills: ["lists/prefix"],
    store: class extends ReferenceStore {
      protected override keys({ prefix }: Range) {
        const pattern = prefix.replaceAll(/[\\^$.*+()[\]{}|]/g, String.raw`\$&`).replaceAll("_", ".");
        return super.keys({ prefix: "" }).filter((key) => new RegExp(`^${pattern}`, "s").test(key));
      }
    },
  },
  {
    fault: "takes a prefix for a folder",
    kills: ["lists/prefix", "lists/order"],
    store: class extends ReferenceStore {
      protected override keys({ prefix }: Range) {
        return super
          .keys({ prefix })
          .filter((key) => prefix === "" || prefix.endsWith("/") || key[prefix.length] === "/");
      }
    },
  },
  {
    fault: "lists everything where nothing is",
    kills: ["lists/empty"],
    store: class extends ReferenceStore {
      protected override keys(range: Range) {
        const keys = super.keys(range);
        return keys.length > 0 ? keys : super.keys({ prefix: "" });
      }
    },
  },
  {
    fault: "repeats the key that a list resumes after",
    kills: ["lists/after", "lists/limit"],
    store: class extends ReferenceStore {
      protected override isAfter(key: string, after: string) {
        return this.compare(key, after) >= 0;
      }
    },
  },
  {
    fault: "gives one more than the limit",
    kills: ["lists/limit"],
    store: class extends ReferenceStore {
      override list(range: Range, options: ListOptions = {}) {
        return super.list(range, { ...options, limit: options.limit && options.limit + 1 });
      }
    },
  },
  {
    fault: "gives keys where entries are asked for",
    kills: ["lists/details"],
    store: class extends ReferenceStore {
      override list(range: Range, options: ListOptions = {}) {
        return super.list(range, { ...options, detail: options.detail === "entries" ? "keys" : options.detail });
      }
    },
  },
  {
    fault: "lists what it had when it was first listed",
    kills: ["lists/fresh"],
    store: class extends ReferenceStore {
      private seen = new Map<string, string[]>();
      protected override keys(range: Range) {
        const known = this.seen.get(range.prefix) ?? super.keys(range);
        this.seen.set(range.prefix, known);
        return known;
      }
    },
  },
  {
    fault: "tags a copy by its content",
    kills: ["lists/tags"],
    store: class extends ReferenceStore {
      protected override tag({ entry }: Copy) {
        return `${entry.state} ${String(entry.value)}`;
      }
    },
  },
  {
    fault: "tags a copy by its version alone",
    kills: ["lists/tags-of-stubs"],
    store: class extends ReferenceStore {
      protected override tag({ entry }: Copy) {
        return entry.version;
      }
    },
  },
  {
    fault: "tags a copy by its asOf too",
    kills: ["lists/tags-and-renewal"],
    store: class extends ReferenceStore {
      protected override tag(copy: Copy) {
        return `${super.tag(copy)} ${copy.asOf}`;
      }
    },
  },
  {
    fault: "takes no limit for none",
    kills: ["lists/limit"],
    store: class extends ReferenceStore {
      override list(range: Range, options: ListOptions = {}) {
        return super.list(range, { ...options, limit: options.limit || undefined });
      }
    },
  },
  {
    fault: "resumes a list by its position when others write meanwhile",
    kills: ["lists/while-writing"],
    store: class extends ReferenceStore {
      override async *list(range: Range, options: ListOptions = {}) {
        let given = 0;
        for (let left = options.limit ?? Infinity; left > 0; left--) {
          let at = 0;
          let found = false;
          for await (const item of super.list(range, { ...options, limit: undefined })) {
            if (at++ < given) continue;
            found = true;
            given++;
            yield item;
            break;
          }
          if (!found) return;
        }
      }
    },
  },
  {
    fault: "keeps its lock when a list is left early",
    kills: ["lists/left-early"],
    store: class extends ReferenceStore {
      private listing = false;
      override async *list(range: Range, options?: ListOptions) {
        if (this.listing) throw new SyncError("OVERLOADED", "a list is under way");
        this.listing = true;
        yield* super.list(range, options);
        this.listing = false;
      }
    },
  },
];

export const callMutants: readonly Mutant[] = [
  {
    fault: "ignores the signal",
    kills: ["calls/aborted-before", "calls/aborted-before-effect", "calls/aborted-list"],
    store: class extends ReferenceStore {
      protected override expect(operation: string, options: Options) {
        super.expect(operation, { ...options, signal: undefined });
      }
    },
  },
  {
    fault: "ignores the deadline",
    kills: ["calls/late", "calls/late-effect"],
    store: class extends ReferenceStore {
      protected override expect(operation: string, options: Options) {
        super.expect(operation, { ...options, deadline: undefined });
      }
    },
  },
  {
    fault: "takes a deadline for a duration on the wall clock",
    kills: ["calls/signal-unused"],
    store: class extends ReferenceStore {
      protected override expect(operation: string, options: Options) {
        const { deadline } = options ?? {};
        super.expect(operation, { ...options, deadline: deadline && deadline - 1_700_000_000_000 });
      }
    },
  },
  {
    fault: "throws the signal's own reason",
    kills: ["calls/aborted-midway"],
    store: class extends ReferenceStore {
      override async read(keys: readonly string[], options?: ReadOptions) {
        const answers = await super.read(keys, options);
        options?.signal?.throwIfAborted();
        return answers;
      }
    },
  },
  {
    fault: "ends an aborted list as if it were complete",
    kills: ["calls/aborted-list", "calls/closed-list"],
    store: class extends ReferenceStore {
      override async *list(range: Range, options?: ListOptions) {
        let begun = false;
        try {
          for await (const item of super.list(range, options)) {
            yield item;
            begun = true;
          }
        } catch (error) {
          if (!begun) throw error;
        }
      }
    },
  },
  {
    fault: "works on after close",
    kills: ["calls/closed"],
    store: class extends ReferenceStore {
      override close = () => Promise.resolve();
    },
  },
  {
    fault: "fails when it is closed again",
    kills: ["calls/closed"],
    store: class extends ReferenceStore {
      override async close() {
        if (this.closed) throw new SyncError("CLOSED", "again");
        await super.close();
      }
    },
  },
  {
    fault: "breaks a write that is under way at close",
    kills: ["calls/closed-under-way"],
    store: class extends ReferenceStore {
      override async write(writes: readonly Write[], options: Options) {
        const results = await super.write(writes, options);
        if (this.closed) throw new TypeError("cannot read properties of undefined");
        return results;
      }
    },
  },
];
