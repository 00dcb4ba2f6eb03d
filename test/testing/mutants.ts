import { merge } from "../../src/entry.ts";
import type { Copy, Entry } from "../../src/entry.ts";
import { SyncError } from "../../src/error.ts";
import type { CallOptions, Supports, Write, WriteResult } from "../../src/store.ts";
import { ReferenceStore } from "../../src/testing/index.ts";
import type { ReferenceOptions } from "../../src/testing/index.ts";
import { isLow } from "../../src/version.ts";

/** A reference store with one fault, and the checks that must notice it. */
export interface Mutant {
  readonly fault: string;
  readonly kills: readonly string[];
  readonly store: new (options: ReferenceOptions) => ReferenceStore;
  readonly supports?: Partial<Supports>;
}

type Options = CallOptions | undefined;

const tick = () => Promise.resolve();

export const writeMutants: readonly Mutant[] = [
  {
    fault: "keeps the last write, whatever its version",
    kills: ["merge/every-order", "merge/random", "merge/superseded", "merge/parallel", "states/tombstone-over-value"],
    store: class extends ReferenceStore {
      override merge = (_: Copy, copy: Copy) => copy;
    },
  },
  {
    fault: "keeps the first write, whatever its version",
    kills: ["merge/every-order", "merge/random", "lists/fresh", "merge/low-band"],
    store: class extends ReferenceStore {
      override merge = (held: Copy) => held;
    },
  },
  {
    fault: "ranks versions of the low band above stamps",
    kills: ["merge/low-band"],
    store: class extends ReferenceStore {
      override merge = (held: Copy, copy: Copy) => (isLow(copy.entry.version) ? copy : merge(held, copy));
    },
  },
  {
    fault: "empties a value by the stub of its version",
    kills: ["merge/stubs-every-order", "states/stub-and-value", "merge/random"],
    store: class extends ReferenceStore {
      override merge = (held: Copy, copy: Copy) =>
        copy.entry.version === held.entry.version && copy.entry.state === "stub" ? copy : merge(held, copy);
    },
  },
  {
    fault: "does not fill a stub with the value of its version",
    kills: ["merge/stubs-every-order", "states/stub-and-value", "lists/tags-of-stubs", "watches/stub"],
    store: class extends ReferenceStore {
      override merge = (held: Copy, copy: Copy) =>
        copy.entry.version === held.entry.version ? held : merge(held, copy);
    },
  },
  {
    fault: "ignores a stub when it has an older value",
    kills: ["merge/stubs-every-order"],
    store: class extends ReferenceStore {
      override merge = (held: Copy, copy: Copy) => (copy.entry.state === "stub" ? held : merge(held, copy));
    },
  },
  {
    fault: "keeps the first of two contents of one version",
    kills: ["merge/collision"],
    store: class extends ReferenceStore {
      override merge = (held: Copy, copy: Copy) =>
        copy.entry.version === held.entry.version && held.entry.state !== "stub"
          ? { entry: held.entry, asOf: Math.max(held.asOf, copy.asOf) }
          : merge(held, copy);
    },
  },
  {
    fault: "never renews asOf",
    kills: ["states/as-of-renewed", "merge/random"],
    store: class extends ReferenceStore {
      override merge = (held: Copy, copy: Copy) =>
        merge(
          { ...held, asOf: held.asOf },
          { ...copy, asOf: copy.entry.version === held.entry.version ? 0 : copy.asOf },
        );
    },
  },
  {
    fault: "takes an earlier asOf from a repeated write",
    kills: ["states/as-of-renewed"],
    store: class extends ReferenceStore {
      override merge = (held: Copy, copy: Copy) => ({ ...merge(held, copy), asOf: copy.asOf });
    },
  },
  {
    fault: "dates a newer version by the later of all asOf",
    kills: ["states/as-of-of-the-newer"],
    store: class extends ReferenceStore {
      override merge = (held: Copy, copy: Copy) => ({ ...merge(held, copy), asOf: Math.max(held.asOf, copy.asOf) });
    },
  },
  {
    fault: "keeps only the last write of each key in a call",
    kills: ["merge/one-call"],
    store: class extends ReferenceStore {
      override async write(writes: readonly Write[], options: Options) {
        const last = new Map(writes.map((write) => [write.entry.key, write]));
        await super.write([...last.values()], options);
        return writes.map((): WriteResult => ({ status: "stored" }));
      }
    },
  },
  {
    fault: "names the refused version as the one in its way",
    kills: ["merge/superseded", "batches/results"],
    store: class extends ReferenceStore {
      protected override apply(write: Write): WriteResult {
        const result = super.apply(write);
        return result.status === "superseded" ? { ...result, by: write.entry.version } : result;
      }
    },
  },
  {
    fault: "gives the results of a call in another order",
    kills: ["batches/results", "values/above-the-limit", "conditions/batch"],
    supports: { valueBytesMax: 10_000 },
    store: class extends ReferenceStore {
      override async write(writes: readonly Write[], options: Options) {
        return (await super.write(writes, options)).sort((a, b) => (a.status < b.status ? -1 : 1));
      }
    },
  },
  {
    fault: "takes a repeated write for a change",
    kills: ["merge/repeated", "watches/no-news", "watches/dates", "lists/tags-and-renewal"],
    store: class extends ReferenceStore {
      protected override apply(write: Write): WriteResult {
        const result = super.apply(write);
        if (result.status === "stored") this.commit(write.entry.key);
        return result;
      }
    },
  },
  {
    fault: "looks, waits, then writes: the lock is missing",
    kills: ["merge/parallel", "conditions/race", "conditions/counter"],
    store: class extends ReferenceStore {
      override async write(writes: readonly Write[], options: Options) {
        const seen = writes.map(({ entry }) => this.state.copies.get(entry.key));
        await tick();
        for (const [i, { entry }] of writes.entries()) {
          const copy = seen[i];
          if (copy === undefined) this.state.copies.delete(entry.key);
          else this.state.copies.set(entry.key, copy);
        }
        return super.write(writes, options);
      }
    },
  },
  {
    fault: "keeps the caller's bytes",
    kills: ["values/own-bytes"],
    store: class extends ReferenceStore {
      protected override take = (entry: Entry) => entry;
    },
  },
  {
    fault: "removes a key instead of keeping its tombstone",
    kills: ["states/tombstone", "states/tombstone-over-value", "merge/every-order"],
    store: class extends ReferenceStore {
      protected override apply(write: Write): WriteResult {
        const result = super.apply(write);
        if (write.entry.state === "deleted") this.state.copies.delete(write.entry.key);
        return result;
      }
    },
  },
  {
    fault: "removes what is in a folder when the folder's key is deleted",
    kills: ["keys/tombstone-beside-folder"],
    store: class extends ReferenceStore {
      protected override apply(write: Write): WriteResult {
        const { key, state } = write.entry;
        for (const other of this.state.copies.keys()) {
          if (state === "deleted" && other.startsWith(`${key}/`)) this.state.copies.delete(other);
        }
        return super.apply(write);
      }
    },
  },
  {
    fault: "stores expired entries as absent",
    kills: ["states/expired", "states/expired-hides-older"],
    store: class extends ReferenceStore {
      protected override apply(write: Write): WriteResult {
        const { expires } = write.entry;
        return expires !== null && expires <= this.runtime.now() ? { status: "stored" } : super.apply(write);
      }
    },
  },
  {
    fault: "removes an entry an hour too early",
    kills: ["states/not-yet-expired"],
    supports: { expiry: true },
    store: class extends ReferenceStore {
      protected override sweep(): void {
        for (const [key, { entry }] of this.state.copies) if (entry.expires !== null) this.state.copies.delete(key);
      }
    },
  },
  {
    fault: "writes one by one, so that a malformed write stops it half-way",
    kills: ["batches/malformed", "keys/malformed", "keys/too-long"],
    store: class extends ReferenceStore {
      override async write(writes: readonly Write[], options: Options) {
        const results: WriteResult[] = [];
        for (const write of writes) results.push(...(await super.write([write], options)));
        return results;
      }
    },
  },
  {
    fault: "shows a batch before it is complete",
    kills: ["batches/atomic"],
    store: class extends ReferenceStore {
      override async write(writes: readonly Write[], options: Options) {
        const half = Math.ceil(writes.length / 2);
        const results = await super.write(writes.slice(0, half), options);
        await tick();
        return results.concat(await super.write(writes.slice(half), options));
      }
    },
  },
  {
    fault: "takes batches of any size",
    kills: ["batches/above-the-limit"],
    supports: { batchMax: 5 },
    store: class extends ReferenceStore {
      override async write(writes: readonly Write[], options: Options) {
        const results: WriteResult[] = [];
        for (let i = 0; i < writes.length; i += 5)
          results.push(...(await super.write(writes.slice(i, i + 5), options)));
        return results;
      }
    },
  },
  {
    fault: "refuses a batch of exactly the largest size",
    kills: ["batches/at-the-limit"],
    supports: { batchMax: 5 },
    store: class extends ReferenceStore {
      override async write(writes: readonly Write[], options: Options) {
        if (writes.length === 5) throw new SyncError("TOO_LARGE", "too many");
        return super.write(writes, options);
      }
    },
  },
  {
    fault: "refuses an empty batch",
    kills: ["batches/empty"],
    store: class extends ReferenceStore {
      override async write(writes: readonly Write[], options: Options) {
        if (writes.length === 0) throw new SyncError("INVALID", "nothing to write");
        return super.write(writes, options);
      }
    },
  },
  {
    fault: "refuses a value of exactly the largest size",
    kills: ["values/at-the-limit"],
    supports: { valueBytesMax: 10_000 },
    store: class extends ReferenceStore {
      protected override apply(write: Write): WriteResult {
        const error = new SyncError("TOO_LARGE", "too large");
        return write.entry.value?.length === 10_000 ? { status: "failed", error } : super.apply(write);
      }
    },
  },
  {
    fault: "throws for the whole call when one value is too large",
    kills: ["values/above-the-limit"],
    supports: { valueBytesMax: 10_000 },
    store: class extends ReferenceStore {
      override async write(writes: readonly Write[], options: Options) {
        if (writes.some(({ entry }) => (entry.value?.length ?? 0) > 10_000)) throw new SyncError("TOO_LARGE", "one");
        return super.write(writes, options);
      }
    },
  },
  {
    fault: "drops the old entry when a newer value is too large",
    kills: ["values/old-value-behind-a-refused-one"],
    supports: { valueBytesMax: 10_000 },
    store: class extends ReferenceStore {
      override async write(writes: readonly Write[], options: Options) {
        const results = await super.write(writes, options);
        for (const [i, { entry }] of writes.entries()) {
          if (results[i]?.status === "failed") this.state.copies.delete(entry.key);
        }
        return results;
      }
    },
  },
  {
    fault: "takes stubs for tombstones where it says that it takes none",
    kills: ["supports/no-stubs"],
    supports: { stubs: false },
    store: class extends ReferenceStore {
      override write(writes: readonly Write[], options: Options) {
        const taken = writes.map((write): Write => {
          return write.entry.state === "stub" ? { ...write, entry: { ...write.entry, state: "deleted" } } : write;
        });
        return super.write(taken, options);
      }
    },
  },
  {
    fault: "ignores conditions where it says that it has none",
    kills: ["conditions/unsupported"],
    supports: { conditional: false },
    store: class extends ReferenceStore {
      override write(writes: readonly Write[], options: Options) {
        return super.write(
          writes.map(({ entry, asOf }) => ({ entry, asOf })),
          options,
        );
      }
    },
  },
  {
    fault: "takes writes where it says that it takes none",
    kills: ["supports/readonly", "supports/readonly-keeps"],
    supports: { readonly: true, conditional: false },
    store: class extends ReferenceStore {
      override async write(writes: readonly Write[], options: Options) {
        this.enter("write", options);
        return writes.map((write) => this.apply(write));
      }
    },
  },
  {
    fault: "declares more than the common bounds",
    kills: ["supports/declared"],
    supports: { keyBytesMax: 513 },
    store: ReferenceStore,
  },
];
