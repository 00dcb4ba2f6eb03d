import { KEY_BYTES_MAX } from "../../entry.ts";
import { claim, rejects, same } from "../assert.ts";
import { answers, fillable, writable } from "./context.ts";
import type { Check } from "./context.ts";
import { outcome } from "./values.ts";

export const supportChecks: readonly Check[] = [
  {
    id: "supports/declared",
    title: "has a name, and declares every ability and limit within the common bounds",
    async run({ store }) {
      claim(typeof store.name === "string" && store.name !== "", "the store has no name");
      const { supports } = store;
      for (const field of ["keyBytesMax", "valueBytesMax", "batchMax"] as const) {
        const limit = supports[field];
        claim(limit === Infinity || (Number.isSafeInteger(limit) && limit > 0), `${field} is ${limit}`);
      }
      claim(supports.keyBytesMax <= KEY_BYTES_MAX, `keyBytesMax is above ${KEY_BYTES_MAX}`);
      for (const field of ["conditional", "atomicBatch", "stubs", "expiry", "durable", "shared", "readonly"] as const) {
        same(typeof supports[field], "boolean", field);
      }
      claim(["push", "poll"].includes(supports.watch), `watch is ${supports.watch}`);
      claim(["many", "one"].includes(supports.writers), `writers is ${supports.writers}`);
      claim(["stored", "known"].includes(supports.asOf), `asOf is ${supports.asOf}`);
      claim(!(supports.readonly && supports.conditional), "a store that takes no writes takes no conditional ones");
    },
  },
  {
    id: "supports/no-stubs",
    title: "refuses stubs with UNSUPPORTED where it takes none, and stores the others of the call",
    unless: (opened, settings) =>
      writable(opened, settings) ?? (opened.store.supports.stubs ? "the store takes stubs" : undefined),
    async run(t) {
      const prefix = t.prefix();
      const [stub, value] = [t.stub(`${prefix}stub`), t.value(`${prefix}value`, "x")];
      same((await t.write([stub, value])).map(outcome), ["failed UNSUPPORTED", "stored"], "results");
      const found = await t.read([stub.key, value.key]);
      for (const [i, entry] of [undefined, value].entries()) answers(found[i], entry, `key ${i}`);
    },
  },
  {
    id: "supports/readonly",
    title: "refuses every write and forget with READONLY where it takes none",
    unless: ({ store }) => (store.supports.readonly ? undefined : "the store takes writes"),
    async run(t) {
      const prefix = t.prefix();
      const entries = [t.value(`${prefix}value`, "x"), t.tombstone(`${prefix}tombstone`)];
      same((await t.write(entries)).map(outcome), ["failed READONLY", "failed READONLY"], "results");
      const items = entries.map(({ key, version }) => ({ key, version, reason: "collected" }) as const);
      for (const item of items) await rejects("READONLY", () => t.store.forget([item]), "forget");
      for (const answer of await t.read(entries.map(({ key }) => key)))
        answers(answer, undefined, "after the refusals");
    },
  },
  {
    id: "supports/readonly-keeps",
    title: "keeps what it has where writes and forgets are refused",
    unless: (opened, settings) =>
      opened.store.supports.readonly ? fillable(opened, settings) : "the store takes writes",
    async run(t) {
      const key = `${t.prefix()}k`;
      const held = t.value(key, "held");
      await t.put([held]);
      await t.write([t.value(key, "newer"), t.tombstone(key)]);
      await rejects("READONLY", () => t.store.forget([{ key, version: held.version, reason: "ghost" }]), "forget");
      answers(await t.readOne(key), held, "after the refusals");
    },
  },
];
