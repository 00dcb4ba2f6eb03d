import type { Change, Range, WatchOptions } from "../../src/store.ts";
import { ReferenceStore } from "../../src/testing/index.ts";
import type { Mutant } from "./mutants.ts";

/** Rewrites what a watch tells. */
const telling = (tell: (change: Change, seen: Change[]) => readonly Change[]): Mutant["store"] =>
  class extends ReferenceStore {
    override async *watch(range: Range, options?: WatchOptions) {
      const seen: Change[] = [];
      for await (const change of super.watch(range, options)) {
        yield* tell(change, seen);
        seen.push(change);
      }
    }
  };

const watchingWith = (
  change: (range: Range, options: WatchOptions) => readonly [Range, WatchOptions],
): Mutant["store"] =>
  class extends ReferenceStore {
    override watch(range: Range, options: WatchOptions = {}) {
      return super.watch(...change(range, options));
    }
  };

export const watchMutants: readonly Mutant[] = [
  {
    fault: "does not tell tombstones",
    kills: ["watches/initial", "watches/live"],
    store: telling((change) => (change.kind === "change" && change.head?.state === "deleted" ? [] : [change])),
  },
  {
    fault: "never says that it is current",
    kills: ["watches/initial", "watches/initial-empty"],
    store: telling((change) => (change.kind === "current" ? [] : [change])),
  },
  {
    fault: "says current after every change",
    kills: ["watches/initial", "watches/live"],
    store: telling((change) =>
      change.kind === "change" ? [change, { kind: "current", cursor: change.cursor }] : [change],
    ),
  },
  {
    fault: "counts what was stored during the initial state as told",
    kills: ["watches/initial-while-writing"],
    store: class extends ReferenceStore {
      override async *watch(range: Range, options: WatchOptions = {}) {
        for await (const change of super.watch(range, options)) {
          if (change.kind !== "current") {
            yield change;
            continue;
          }
          const cursor = this.cursor(this.state.commits);
          yield { ...change, cursor };
          for await (const next of super.watch(range, { ...options, cursor })) if (next.kind !== "current") yield next;
        }
      }
    },
  },
  {
    fault: "begins with everything, also when asked not to",
    kills: ["watches/without-initial"],
    store: watchingWith((range, options) => [range, { ...options, initial: true }]),
  },
  {
    fault: "tells changes outside the range",
    kills: ["watches/live", "watches/initial-empty"],
    store: watchingWith((_, options) => [{ prefix: "" }, options]),
  },
  {
    fault: "begins anew with every cursor",
    kills: ["watches/resume", "watches/unknown-cursor", "watches/no-news"],
    store: watchingWith((range, options) => [range, { ...options, cursor: undefined }]),
  },
  {
    fault: "gives every change the cursor of the newest",
    kills: ["watches/resume-in-the-middle"],
    store: class extends ReferenceStore {
      protected override cursor = () => `${this.state.epoch}.${this.state.commits}`;
    },
  },
  {
    fault: "tells only what is newer than anything told",
    kills: ["watches/late"],
    store: telling((change, seen) => {
      const isOld = (other: Change) =>
        change.kind === "change" &&
        other.kind === "change" &&
        (other.head?.version ?? "") > (change.head?.version ?? "~");
      return seen.some(isOld) ? [] : [change];
    }),
  },
  {
    fault: "tells each version once",
    kills: ["watches/stub"],
    store: telling((change, seen) => {
      const isSame = (other: Change) =>
        change.kind === "change" && other.kind === "change" && other.head?.version === change.head?.version;
      return seen.some(isSame) ? [] : [change];
    }),
  },
  {
    fault: "tells one key of a batch",
    kills: ["watches/batch"],
    store: class extends ReferenceStore {
      protected override changesAfter(place: number, range: Range) {
        return super.changesAfter(place, range).slice(-1);
      }
    },
  },
  {
    fault: "does not tell removals",
    kills: ["watches/forgotten"],
    store: telling((change) => (change.kind === "change" && change.head === null ? [] : [change])),
  },
  {
    fault: "takes a cursor that it does not know for now",
    kills: ["watches/unknown-cursor", "watches/foreign-cursor"],
    store: class extends ReferenceStore {
      protected override place(cursor: string) {
        return super.place(cursor) ?? this.state.commits;
      }
    },
  },
  {
    fault: "does not look whose a cursor is",
    kills: ["watches/foreign-cursor"],
    store: class extends ReferenceStore {
      protected override place(cursor: string) {
        return super.place(`${this.state.epoch}.${cursor.split(".")[1] ?? "?"}`);
      }
    },
  },
  {
    fault: "goes on after relist",
    kills: ["watches/foreign-cursor"],
    store: class extends ReferenceStore {
      override async *watch(range: Range, options?: WatchOptions): AsyncIterable<Change> {
        for await (const change of super.watch(range, options)) {
          yield change;
          if (change.kind === "relist") yield* super.watch(range, { ...options, cursor: undefined });
        }
      }
    },
  },
  {
    fault: "has one watch at a time",
    kills: ["watches/many"],
    store: class extends ReferenceStore {
      private latest = 0;
      override async *watch(range: Range, options?: WatchOptions) {
        const mine = ++this.latest;
        for await (const change of super.watch(range, options)) if (mine === this.latest) yield change;
      }
    },
  },
  {
    fault: "does not hear the signal while a watch waits",
    kills: ["watches/abort"],
    store: watchingWith((range, options) => [range, { ...options, signal: undefined }]),
  },
  {
    fault: "does not hear the deadline while a watch waits",
    kills: ["calls/late-watch"],
    store: watchingWith((range, options) => [range, { ...options, deadline: undefined }]),
  },
  {
    fault: "leaves watches waiting when it is closed",
    kills: ["watches/close"],
    store: class extends ReferenceStore {
      override async close() {
        this.closed = true;
      }
    },
  },
];
