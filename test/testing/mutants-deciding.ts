import type { Copy } from "../../src/entry.ts";
import { SyncError } from "../../src/error.ts";
import type { CallOptions, Forget, Write, WriteResult } from "../../src/store.ts";
import { ReferenceStore } from "../../src/testing/index.ts";
import type { ReferenceOptions } from "../../src/testing/index.ts";
import { VERSION_ZERO } from "../../src/version.ts";
import type { Mutant } from "./mutants.ts";

type Options = CallOptions | undefined;

export const conditionMutants: readonly Mutant[] = [
  {
    fault: "ignores conditions",
    kills: ["conditions/absent", "conditions/version", "conditions/batch", "conditions/race"],
    store: class extends ReferenceStore {
      protected override met = () => true;
    },
  },
  {
    fault: 'takes a tombstone for present on condition "absent"',
    kills: ["conditions/absent"],
    store: class extends ReferenceStore {
      protected override met(write: Write, held: Copy | undefined) {
        return write.if === "absent" && held?.entry.state === "deleted" ? false : super.met(write, held);
      }
    },
  },
  {
    fault: 'takes an expired value for present on condition "absent"',
    kills: ["conditions/absent"],
    store: class extends ReferenceStore {
      protected override met(write: Write, held: Copy | undefined) {
        return write.if === "absent" && held?.entry.state === "value" && held.entry.version !== write.entry.version
          ? false
          : super.met(write, held);
      }
    },
  },
  {
    fault: 'takes a stub for "absent"',
    kills: ["conditions/absent-over-stub"],
    store: class extends ReferenceStore {
      protected override met(write: Write, held: Copy | undefined) {
        return (write.if === "absent" && held?.entry.state === "stub") || super.met(write, held);
      }
    },
  },
  {
    fault: "takes a version condition for met where nothing is",
    kills: ["conditions/version"],
    store: class extends ReferenceStore {
      protected override met(write: Write, held: Copy | undefined) {
        return held === undefined || super.met(write, held);
      }
    },
  },
  {
    fault: "answers the retry of a conditional write with a conflict",
    kills: ["conditions/retry"],
    store: class extends ReferenceStore {
      protected override met({ entry, if: condition }: Write, held: Copy | undefined) {
        return super.met({ entry: { ...entry, version: VERSION_ZERO }, asOf: 0, if: condition }, held);
      }
    },
  },
  {
    fault: "writes an older version where the condition holds",
    kills: ["conditions/merge"],
    store: class extends ReferenceStore {
      protected override apply(write: Write): WriteResult {
        const held = this.state.copies.get(write.entry.key);
        if (write.if !== undefined && this.met(write, held)) this.state.copies.delete(write.entry.key);
        return super.apply(write);
      }
    },
  },
  {
    fault: "does not say what stands in the way of a condition",
    kills: ["conditions/absent", "conditions/version", "conditions/race"],
    store: class extends ReferenceStore {
      protected override apply(write: Write): WriteResult {
        const result = super.apply(write);
        return result.status === "conflict" ? { status: "conflict", current: undefined } : result;
      }
    },
  },
  {
    fault: "refuses the whole call when one condition fails",
    kills: ["conditions/batch"],
    store: class extends ReferenceStore {
      override async write(writes: readonly Write[], options: Options) {
        const failing = writes.find((write) => !this.met(write, this.state.copies.get(write.entry.key)));
        if (failing === undefined) return super.write(writes, options);
        const current = this.state.copies.get(failing.entry.key)?.entry;
        return writes.map((): WriteResult => ({ status: "conflict", current }));
      }
    },
  },
];

export const collectionMutants: readonly Mutant[] = [
  {
    fault: "forgets whatever version it has",
    kills: ["collection/exactly"],
    store: class extends ReferenceStore {
      protected override remove(item: Forget): void {
        const version = this.state.copies.get(item.key)?.entry.version ?? item.version;
        super.remove({ ...item, version });
      }
    },
  },
  {
    fault: "forgets nothing",
    kills: ["collection/exactly", "watches/forgotten"],
    store: class extends ReferenceStore {
      protected override remove = () => undefined;
    },
  },
  {
    fault: "fails to forget what it does not have",
    kills: ["collection/nothing"],
    store: class extends ReferenceStore {
      protected override remove(item: Forget): void {
        if (!this.state.copies.has(item.key)) throw new SyncError("NOT_FOUND", "there is none");
        super.remove(item);
      }
    },
  },
  {
    fault: "has no watermark",
    kills: ["collection/watermark", "collection/watermark-never-falls", "collection/watermark-survives"],
    supports: { durable: true },
    store: class extends ReferenceStore {
      protected override remove(item: Forget): void {
        super.remove({ ...item, reason: "ghost" });
      }
    },
  },
  {
    fault: "takes the collected version itself again",
    kills: ["collection/watermark"],
    store: class extends ReferenceStore {
      protected override apply(write: Write): WriteResult {
        const { watermark } = this.state;
        if (write.entry.version === watermark) this.state.watermark = VERSION_ZERO;
        const result = super.apply(write);
        this.state.watermark = watermark;
        return result;
      }
    },
  },
  {
    fault: "raises the watermark for ghosts",
    kills: ["collection/ghost"],
    store: class extends ReferenceStore {
      protected override remove(item: Forget): void {
        super.remove({ ...item, reason: "collected" });
      }
    },
  },
  {
    fault: "holds the watermark against keys that it has",
    kills: ["collection/watermark-and-present-keys"],
    store: class extends ReferenceStore {
      protected override apply(write: Write): WriteResult {
        return write.entry.version <= this.state.watermark ? { status: "too-old" } : super.apply(write);
      }
    },
  },
  {
    fault: "lowers the watermark when something older is collected",
    kills: ["collection/watermark-never-falls"],
    store: class extends ReferenceStore {
      protected override remove(item: Forget): void {
        super.remove(item);
        if (item.reason === "collected") this.state.watermark = item.version;
      }
    },
  },
  {
    fault: "has no watermark after it is opened again",
    kills: ["collection/watermark-survives"],
    supports: { durable: true },
    store: class extends ReferenceStore {
      constructor(options: ReferenceOptions) {
        super(options);
        this.state.watermark = VERSION_ZERO;
      }
    },
  },
  {
    fault: "has no tombstones after it is opened again",
    kills: ["life/reopened"],
    supports: { durable: true },
    store: class extends ReferenceStore {
      constructor(options: ReferenceOptions) {
        super(options);
        const { copies } = this.state;
        for (const [key, { entry }] of copies) if (entry.state === "deleted") copies.delete(key);
      }
    },
  },
  {
    fault: "counts its commits from the beginning after it is opened again",
    kills: ["life/reopened-cursor"],
    supports: { durable: true },
    store: class extends ReferenceStore {
      constructor(options: ReferenceOptions) {
        super(options);
        this.state.commits = 0;
        this.state.changes.clear();
      }
    },
  },
];
