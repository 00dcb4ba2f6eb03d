import { describe, expect, it } from "vitest";
import { isDead, merge } from "../../src/entry.ts";
import type { Copy, Entry } from "../../src/entry.ts";
import { SyncError } from "../../src/error.ts";
import type {
  CallOptions,
  Change,
  Forget,
  ListOptions,
  Listed,
  Range,
  Supports,
  WatchOptions,
  Write,
  WriteResult,
} from "../../src/store.ts";
import { ReferenceStore, simulatedRuntime } from "../../src/testing/index.ts";
import type { ReferenceOptions } from "../../src/testing/index.ts";
import { VERSION_ZERO } from "../../src/version.ts";
import { examined, findingOf, stepsWith, words } from "./world.ts";

/** A store with one fault, the checks that fail on it and no other, and what is said. */
interface Fault {
  readonly fault: string;
  readonly fails: readonly string[];
  readonly says: RegExp;
  readonly store: new (options: ReferenceOptions) => ReferenceStore;
  readonly supports?: Partial<Supports>;
}

const tick = () => Promise.resolve();
const text = (bytes: Uint8Array | null) => (bytes === null ? "" : new TextDecoder().decode(bytes));

/** Keys are changed before they are looked for or stored. */
function renaming(change: (key: string) => string) {
  return class extends ReferenceStore {
    override async read(keys: readonly string[], options?: CallOptions) {
      return super.read(keys.map(change), options);
    }
    override async write(writes: readonly Write[], options?: CallOptions) {
      const changed = writes.map((write) => ({ ...write, entry: { ...write.entry, key: change(write.entry.key) } }));
      return super.write(changed, options);
    }
    override async forget(items: readonly Forget[], options?: CallOptions) {
      return super.forget(
        items.map((item) => ({ ...item, key: change(item.key) })),
        options,
      );
    }
  };
}

/** What is stored is not what was given. */
function changing(change: (entry: Entry) => Entry) {
  return class extends ReferenceStore {
    protected override take(entry: Entry) {
      return change(super.take(entry));
    }
  };
}

const FAULTS: readonly Fault[] = [
  {
    fault: "lists in the order of UTF-16",
    fails: ["keys"],
    says: /not in the order of bytes/,
    store: class extends ReferenceStore {
      protected override compare = (a: string, b: string) => (a < b ? -1 : 1);
    },
  },
  {
    fault: "lists without regard to case",
    fails: ["keys"],
    says: /not in the order of bytes/,
    store: class extends ReferenceStore {
      protected override compare = (a: string, b: string) => (a.toLowerCase() < b.toLowerCase() ? -1 : 1);
    },
  },
  {
    fault: "begins a page with the last key of the one before",
    fails: ["keys"],
    says: /in pages has other keys/,
    store: class extends ReferenceStore {
      protected override isAfter = (key: string, after: string) => this.compare(key, after) >= 0;
    },
  },
  {
    fault: "leaves a key out of lists",
    fails: ["keys"],
    says: /a list lacks "\.\."/,
    store: class extends ReferenceStore {
      protected override keys = (range: Range) => super.keys(range).filter((key) => !key.endsWith("/.."));
    },
  },
  {
    fault: "takes keys that differ in case for one",
    fails: ["keys"],
    says: /of "readme", "a" another value or none came back/,
    store: renaming((key) => key.toLowerCase()),
  },
  {
    fault: "normalises Unicode",
    fails: ["keys"],
    says: /of "cafe\\u0301" another value or none came back/,
    store: renaming((key) => key.normalize("NFC")),
  },
  {
    fault: "drops a dot at the end of a key",
    fails: ["keys"],
    says: /of "a\." another value or none came back/,
    store: renaming((key) => key.replace(/(?<=[a-z])\.$/, "")),
  },
  {
    fault: "refuses a segment of 255 bytes",
    fails: ["keys"],
    says: /the key one of \d+ B was failed with INVALID/,
    store: class extends ReferenceStore {
      protected override apply(write: Write): WriteResult {
        if (!write.entry.key.includes("s".repeat(255))) return super.apply(write);
        return { status: "failed", error: new SyncError("INVALID", "the name is too long") };
      }
    },
  },
  {
    fault: "decides a condition before another write that is under way",
    fails: ["conditions"],
    says: /of 8 writes if absent at once 8 were taken/,
    store: class extends ReferenceStore {
      override async write(writes: readonly Write[], options?: CallOptions) {
        const met = writes.map((write) => this.met(write, this.state.copies.get(write.entry.key)));
        await tick();
        return super.write(
          writes.map(({ entry, asOf, if: condition }, i) =>
            met[i] === true ? { entry, asOf } : { entry, asOf, ...(condition && { if: condition }) },
          ),
          options,
        );
      }
    },
  },
  {
    fault: "ignores the version of a condition",
    fails: ["conditions"],
    says: /a write at a version that was there before was stored/,
    store: class extends ReferenceStore {
      protected override met = (write: Write, held: Copy | undefined) =>
        write.if === undefined || write.if === "absent" ? super.met(write, held) : held !== undefined;
    },
  },
  {
    fault: "takes the repetition of a conditional write for a conflict",
    fails: ["conditions"],
    says: /the repetition of a write that took effect was conflict/,
    store: class extends ReferenceStore {
      protected override met({ if: condition }: Write, held: Copy | undefined) {
        if (condition === undefined) return true;
        if (condition === "absent") return held === undefined || isDead(held.entry, this.runtime.now());
        return held?.entry.version === condition;
      }
    },
  },
  {
    fault: "takes conditions that it says it has not, and ignores them",
    fails: ["conditions"],
    says: /a condition that is not supported was stored/,
    supports: { conditional: false },
    store: class extends ReferenceStore {
      override async write(writes: readonly Write[], options?: CallOptions) {
        return super.write(
          writes.map(({ entry, asOf }) => ({ entry, asOf })),
          options,
        );
      }
    },
  },
  {
    fault: "keeps the last write, whatever its version",
    fails: ["newest"],
    says: /an older version replaced a newer one/,
    store: class extends ReferenceStore {
      protected override merge = (_: Copy, copy: Copy) => copy;
    },
  },
  {
    fault: "compares versions before another write that is under way",
    fails: ["newest"],
    says: /of 6 versions written at once an older one stayed/,
    store: class extends ReferenceStore {
      private forced = false;
      override async write(writes: readonly Write[], options?: CallOptions) {
        const free = writes.every(({ entry, if: condition }) => {
          const held = this.state.copies.get(entry.key);
          return condition === undefined && (held === undefined || held.entry.version <= entry.version);
        });
        await tick();
        this.forced = free;
        const written = super.write(writes, options); // decides before its first await ends
        this.forced = false;
        return written;
      }
      protected override merge = (held: Copy, copy: Copy) => (this.forced ? copy : merge(held, copy));
    },
  },
  {
    fault: "loses empty values",
    fails: ["values"],
    says: /a value of 0 B is missing/,
    store: class extends ReferenceStore {
      protected override answer(key: string) {
        const answer = super.answer(key);
        return answer.entry?.value?.length === 0 && key.endsWith("empty") ? { ...answer, entry: undefined } : answer;
      }
    },
  },
  {
    fault: "takes bytes for text",
    fails: ["values"],
    says: /a value of 256 B came back changed/,
    store: changing((entry) => ({
      ...entry,
      value: entry.value && entry.value.length <= 256 ? new TextEncoder().encode(text(entry.value)) : entry.value,
    })),
  },
  {
    fault: "cuts values at a megabyte",
    fails: ["values"],
    says: /a value of 2 MiB came back changed/,
    store: changing((entry) => ({ ...entry, value: entry.value && entry.value.slice(0, 1024 * 1024) })),
  },
  {
    fault: "stores values above its own limit",
    fails: ["values"],
    says: /a value above its own limit of 1 KiB was stored/,
    supports: { valueBytesMax: 1024 },
    store: class extends ReferenceStore {
      override async write(writes: readonly Write[]) {
        return writes.map((write) => this.apply(write));
      }
    },
  },
  {
    fault: "shows others an older state",
    fails: ["values"],
    says: /is missing on a second connection, after the write was acknowledged/,
    supports: { shared: true, watch: "poll" },
    store: (() => {
      let instances = 0;
      return class extends ReferenceStore {
        private readonly lags = instances++ > 0;
        protected override answer(key: string) {
          const answer = super.answer(key);
          return this.lags && key.includes("/values/") ? { ...answer, entry: undefined } : answer;
        }
      };
    })(),
  },
  {
    fault: "forgets when an entry expires",
    fails: ["expiry"],
    says: /an entry that expires in an hour came back with another expiry/,
    store: changing((entry) => ({ ...entry, expires: null })),
  },
  {
    fault: "removes what has expired, and says it does not",
    fails: ["expiry"],
    says: /was removed, though the store says it does not/,
    store: class extends ReferenceStore {
      protected override answer(key: string) {
        this.sweep();
        return super.answer(key);
      }
    },
  },
  {
    fault: "takes an expired entry for one that is there",
    fails: ["expiry"],
    says: /a write if absent, over an expired entry, was conflict/,
    store: class extends ReferenceStore {
      protected override met = (write: Write, held: Copy | undefined) =>
        write.if === "absent" && held?.entry.version !== write.entry.version
          ? held === undefined
          : super.met(write, held);
    },
  },
  {
    fault: "never tells a watch of a change",
    fails: ["watch"],
    says: /a change was not told within/,
    store: class extends ReferenceStore {
      override async *watch(range: Range, options?: WatchOptions): AsyncIterable<Change> {
        for await (const change of super.watch(range, options)) if (change.kind === "current") yield change;
      }
    },
  },
  {
    fault: "never says that a watch has begun",
    fails: ["watch"],
    says: /does not say that it has begun/,
    store: class extends ReferenceStore {
      override async *watch(range: Range, options?: WatchOptions): AsyncIterable<Change> {
        for await (const change of super.watch(range, options)) if (change.kind === "change") yield change;
      }
    },
  },
  {
    fault: "ends a watch by itself",
    fails: ["watch"],
    says: /the watch ended by itself/,
    store: class extends ReferenceStore {
      override async *watch(range: Range, options?: WatchOptions): AsyncIterable<Change> {
        for await (const change of super.watch(range, options)) {
          yield change;
          return;
        }
      }
    },
  },
  {
    fault: "loses the last entry of a large call",
    fails: ["batch"],
    says: /1 of 200 entries of one call are not there/,
    store: class extends ReferenceStore {
      override async write(writes: readonly Write[], options?: CallOptions) {
        const last: WriteResult[] = writes.length > 100 ? [{ status: "stored" }] : [];
        return [...(await super.write(writes.slice(0, writes.length - last.length), options)), ...last];
      }
    },
  },
  {
    fault: "tells changes of other keys than were changed",
    fails: ["watch"],
    says: /a change was not told/,
    store: class extends ReferenceStore {
      override async *watch(range: Range, options?: WatchOptions): AsyncIterable<Change> {
        for await (const change of super.watch(range, options))
          yield change.kind === "change" ? { ...change, key: `${change.key}x` } : change;
      }
    },
  },
  {
    fault: "tells changes with what was there before",
    fails: ["watch"],
    says: /a change was not told/,
    store: class extends ReferenceStore {
      override async *watch(range: Range, options?: WatchOptions): AsyncIterable<Change> {
        for await (const change of super.watch(range, options)) {
          const isTold = change.kind === "change" && change.head !== null;
          yield isTold ? { ...change, head: { ...change.head, version: VERSION_ZERO } } : change;
        }
      }
    },
  },
  {
    fault: "takes calls above its own limit",
    fails: ["batch"],
    says: /a call above its own limit of 1000 is taken/,
    store: class extends ReferenceStore {
      override async read(keys: readonly string[]) {
        return keys.map((key) => this.answer(key));
      }
    },
  },
  {
    fault: "removes whatever the version",
    fails: ["forget"],
    says: /removed by the name of another version/,
    store: class extends ReferenceStore {
      protected override remove({ key }: Forget) {
        this.state.copies.delete(key);
        this.commit(key);
      }
    },
  },
  {
    fault: "raises the watermark for a removal without a trace",
    fails: ["forget"],
    says: /an older write after a removal without a trace was too-old/,
    store: class extends ReferenceStore {
      protected override remove(item: Forget) {
        super.remove({ ...item, reason: "collected" });
      }
    },
  },
  {
    fault: "leaves keys behind",
    fails: ["forget", "cleanup"],
    says: /keys left: "\.doctor\//,
    store: class extends ReferenceStore {
      override async forget() {}
    },
  },
  {
    fault: "hides from lists what it has not removed",
    fails: ["cleanup"],
    says: /2 keys left/,
    store: class extends ReferenceStore {
      protected override remove(item: Forget) {
        if (!item.key.includes("/expiry/")) super.remove(item);
      }
      override async *list(range: Range, options?: ListOptions): AsyncIterable<Listed> {
        for await (const item of super.list(range, options))
          if (item.kind !== "entry" || !item.key.includes("/expiry/")) yield item;
      }
    },
  },
];

describe("a store that", () => {
  it.each(FAULTS.map((fault) => [fault.fault, fault] as const))("%s is told so", async (_, fault) => {
    const { report } = await examined(fault);
    expect(stepsWith(report, "failed"), words(report)).toEqual(fault.fails);
    expect(words(report)).toMatch(fault.says);
  });

  it("has no fault is told so, and has nothing left in it", async () => {
    for (const supports of [
      {},
      { shared: true, watch: "poll" },
      { expiry: true },
      { keyBytesMax: 100, batchMax: 2 },
    ] as const) {
      const { report, state } = await examined({ supports });
      expect(stepsWith(report, "failed"), words(report)).toEqual([]);
      expect(report.findings.map(({ step }) => step).at(-1)).toBe("cleanup");
      expect(state.copies.size).toBe(0);
      expect(state.watermark).toBe(VERSION_ZERO); // raised, it would refuse other nodes' late writes
    }
  });

  // Mutation: any step left out of steps/all.ts, or one that no faulty store proves.
  it("is checked by each step: none is there for show", async () => {
    const { report } = await examined();
    const proven = new Set(["connect", "abilities", "clock", "speed", ...FAULTS.flatMap(({ fails }) => fails)]);
    expect(report.findings.map(({ step }) => step)).toEqual([
      "connect",
      "abilities",
      "clock",
      "values",
      "speed",
      "newest",
      "conditions",
      "expiry",
      "watch",
      "keys",
      "batch",
      "forget",
      "cleanup",
    ]);
    expect(report.findings.map(({ step }) => step).filter((step) => !proven.has(step))).toEqual([]);
  });
});

describe("the clock", () => {
  // Mutation: the uncertainty is not taken off the difference.
  it("that is told too coarsely to say anything is no reason for advice", async () => {
    const runtime = simulatedRuntime({ seed: 1, drain: () => new Promise<void>((resolve) => setImmediate(resolve)) });
    const clock = { resolutionMs: 4_000, ask: () => Promise.resolve(runtime.now()) };
    const { report } = await examined({ runtime, patient: { clock } });
    expect(findingOf(report, "clock")).toMatchObject({ result: "ok", figures: { aheadMs: 2_000, uncertainMs: 2_000 } });
  });

  it.each([
    [0, "ok"],
    [900, "ok"],
    [3_000, "advice"],
    [-3_000, "advice"],
    [300_000, "failed"],
    [-300_000, "failed"],
  ] as const)("%d ms ahead is %s", async (aheadMs, result) => {
    const { report } = await examined({ aheadMs });
    expect(findingOf(report, "clock")).toMatchObject({ result });
    expect(findingOf(report, "clock")?.figures["aheadMs"]).toBeCloseTo(aheadMs, -1);
  });
});
