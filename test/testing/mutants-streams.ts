import { collected } from "../../src/body.ts";
import type { Body } from "../../src/body.ts";
import type { Entry } from "../../src/entry.ts";
import type { Write, WriteResult } from "../../src/store.ts";
import { ReferenceStore } from "../../src/testing/index.ts";
import type { Version } from "../../src/version.ts";
import type { Mutant } from "./mutants.ts";

export const streamMutants: readonly Mutant[] = [
  {
    fault: "gives every value whole, whatever is asked for",
    kills: ["streams/bytes", "streams/ranges", "streams/replaced"],
    store: class extends ReferenceStore {
      protected override answer(key: string) {
        return super.answer(key, Infinity);
      }
    },
  },
  {
    fault: "ends a part one byte early",
    kills: ["streams/ranges"],
    store: class extends ReferenceStore {
      protected override pieces(key: string, version: Version, from: number, to: number) {
        return super.pieces(key, version, from, from === 0 ? to : to - 1);
      }
    },
  },
  {
    fault: "begins every part at the beginning",
    kills: ["streams/ranges"],
    store: class extends ReferenceStore {
      protected override pieces(key: string, version: Version, _from: number, to: number) {
        return super.pieces(key, version, 0, to);
      }
    },
  },
  {
    fault: "takes a stream over whatever it has",
    kills: ["streams/merge"],
    store: class extends ReferenceStore {
      protected override async whole(write: Write) {
        if (write.body !== undefined) this.state.copies.delete(write.entry.key);
        return super.whole(write, undefined);
      }
    },
  },
  {
    fault: "takes no stream over a stub of its version",
    kills: ["streams/stubs"],
    store: class extends ReferenceStore {
      protected override async whole(write: Write) {
        const held = this.state.copies.get(write.entry.key)?.entry;
        const whole = await super.whole(write, undefined);
        return held?.state === "stub" && held.version === write.entry.version ? { ...whole, entry: held } : whole;
      }
    },
  },
  {
    fault: "stores what it has got of a stream that breaks",
    kills: ["streams/broken"],
    store: class extends ReferenceStore {
      protected override async takeBody(body: Body): Promise<Uint8Array> {
        return collected(body).catch(() => new Uint8Array(body.size));
      }
    },
  },
  {
    fault: "does not compare what comes with its checksum",
    kills: ["streams/broken"],
    store: class extends ReferenceStore {
      protected override takeBody(body: Body): Promise<Uint8Array> {
        return collected(body);
      }
    },
  },
  {
    fault: "gives the bytes of whatever version it has",
    kills: ["streams/replaced"],
    store: class extends ReferenceStore {
      protected override pieces(key: string, _version: Version, from: number, to: number) {
        const now = this.state.copies.get(key)?.entry.version;
        return super.pieces(key, now as Version, from, to);
      }
    },
  },
  {
    fault: "lists the bytes of every value",
    kills: ["streams/lists"],
    store: class extends ReferenceStore {
      protected override listedValue(entry: Entry) {
        return super.listedValue(entry, Infinity);
      }
    },
  },
  {
    fault: "stores streams whatever their condition",
    kills: ["streams/conditions"],
    store: class extends ReferenceStore {
      protected override async whole(write: Write) {
        const { if: _, ...plain } = await super.whole(write, undefined);
        return plain;
      }
    },
  },
  {
    fault: "keeps streams in memory alone",
    kills: ["streams/survives-reopening"],
    supports: { durable: true },
    store: class extends ReferenceStore {
      override async close() {
        for (const [key, { entry }] of this.state.copies) if (entry.value !== null) this.state.copies.delete(key);
        await super.close();
      }
    },
  },
  {
    fault: "takes streams though it says that it does not",
    kills: ["streams/unsupported"],
    supports: { streamBytesMax: 0 },
    store: class extends ReferenceStore {
      override async write(writes: readonly Write[]): Promise<WriteResult[]> {
        const whole: Write[] = [];
        for (const write of writes) whole.push(await this.whole(write, undefined));
        return super.write(whole);
      }
    },
  },
];
