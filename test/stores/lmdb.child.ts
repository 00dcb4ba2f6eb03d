/**
 * What the tests of lmdb run in processes of their own: `node lmdb.child.js WORK FOLDER ARGUMENT`. Each line on stdout
 * is written at once (no buffer of Node's holds it back) and says what was acknowledged.
 */
import { writeSync } from "node:fs";
import { NO_META } from "../../src/entry.ts";
import type { Entry } from "../../src/entry.ts";
import { SyncError } from "../../src/error.ts";
import { lmdb } from "../../src/stores/lmdb.ts";
import { systemRuntime } from "../../src/system.ts";
import { formatVersion } from "../../src/version.ts";

const [, , work = "", folder = "", argument = ""] = process.argv;
const store = await lmdb(folder, { runtime: systemRuntime });
const say = (line: string): void => {
  writeSync(1, `${line}\n`);
};
const entry = (key: string, at: number, value: Uint8Array, node = "0".repeat(16)): Entry => {
  return { key, state: "value", value, version: formatVersion(1.7e12 + at, 0, node), expires: null, meta: NO_META };
};

/** Writes and says so, until it is killed or refused. */
async function acks(): Promise<void> {
  for (let i = 0; ; i++) {
    const entries = [0, 1, 2].map((n) => entry(`${argument}/${i}/${n}`, i, new Uint8Array(100 + 50 * n).fill(i)));
    try {
      const results = await store.write(entries.map((item) => ({ entry: item, asOf: 0 })));
      if (results.some(({ status }) => status !== "stored")) throw new Error("not stored");
    } catch (error) {
      return say(`refused ${error instanceof SyncError ? error.code : String(error)}`);
    }
    say(`${argument}/${i}`);
  }
}

/** Adds 1 to a counter so many times by conditional writes, and offers versions of its own of shared keys. */
async function race(): Promise<void> {
  const [id = 0, rounds = 0] = argument.split(",").map(Number);
  const node = String(id).padStart(16, "0");
  for (let done = 0; done < rounds;) {
    const [answer] = await store.read(["counter"]);
    const before = answer?.entry;
    const count = before === undefined ? 0 : Number(new TextDecoder().decode(before.value ?? new Uint8Array()));
    const next = entry("counter", count + 1, new TextEncoder().encode(String(count + 1)), node);
    const [result] = await store.write([{ entry: next, asOf: 0, if: before?.version ?? "absent" }]);
    if (result?.status === "stored") done++;
    const offered = [0, 1, 2, 3, 4].map((n) =>
      entry(`shared/${n}`, (done * 7919 + n * id) % 1000, new Uint8Array(200 * n), node),
    );
    await store.write(offered.map((item) => ({ entry: item, asOf: 0 })));
    say(offered.map(({ key, version }) => `${key} ${version}`).join("\n"));
  }
}

/** Writes until the disk takes no more, then shows what became of the store. */
async function fill(): Promise<void> {
  for (let i = 0; ; i++) {
    const [big, small] = [
      entry(`big/${i}`, i, systemRuntime.random(new Uint8Array(20_000))),
      entry(`beside/${i}`, i, new Uint8Array(10)),
    ];
    try {
      await store.write([big, small].map((item) => ({ entry: item, asOf: 0 })));
      say(`ack ${i}`);
    } catch (error) {
      if (!(error instanceof SyncError)) throw error;
      say(`refused ${error.code} ${error.retryable} ${error.message}`);
      break;
    }
  }
  const [kept] = await store.read(["big/0"]);
  say(`reads on ${kept?.entry?.value?.length}`);
  await store.close();
}

/** Exits in the middle of writes: after so many acknowledgements, and so many turns of the loop into the next write. */
async function exits(): Promise<void> {
  const [round = 0, acknowledged = 0, turns = 0] = argument.split(",").map(Number);
  const writing = async (writer: number) => {
    for (let i = 0; ; i++) {
      await store.write([{ entry: entry(`${round}/${writer}/${i}`, i, new Uint8Array(100).fill(i)), asOf: 0 }]);
      say(`${round}/${writer}/${i}`);
      if (writer !== 0 || i !== acknowledged) continue;
      void store.write([{ entry: entry(`${round}/last`, i, new Uint8Array(100)), asOf: 0 }]);
      for (let turn = 0; turn < turns; turn++) await new Promise(setImmediate);
      process.exit(7);
    }
  };
  await Promise.all([0, 1, 2].map(writing));
}

const works: Readonly<Record<string, () => Promise<void>>> = { acks, race, fill, exits };
process.on("unhandledRejection", (error) => {
  say(`unhandled ${String(error)}`);
  process.exit(9);
});
await works[work]?.();
await store.close();
say("end");
