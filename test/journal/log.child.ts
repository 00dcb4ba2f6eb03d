/**
 * What the tests of the log run in processes of their own: `node log.child.js WORK FOLDER ARGUMENT`. Each line on stdout
 * is written at once and says what was acknowledged.
 */
import { writeSync } from "node:fs";
import { createInterface } from "node:readline";
import { NO_META } from "../../src/entry.ts";
import { SyncError } from "../../src/error.ts";
import type { Claim } from "../../src/journal/files.ts";
import { openLog } from "../../src/journal/log.ts";
import type { Draft } from "../../src/journal/log.ts";
import { nodeFiles } from "../../src/journal/node-files.ts";
import { systemRuntime } from "../../src/system.ts";
import { formatVersion } from "../../src/version.ts";

const [, , work = "", folder = "", argument = ""] = process.argv;
const files = nodeFiles(folder);
const say = (line: string): void => {
  writeSync(1, `${line}\n`);
};

function draft(key: string, number: number, bytes: number): Draft {
  const value = new Uint8Array(bytes).fill(number);
  const version = formatVersion(1.7e12 + number, 0, "0".repeat(16));
  return {
    kind: "write",
    key,
    asOf: number,
    entry: { key, state: "value", value, version, expires: null, meta: NO_META },
  };
}

/** Appends, eight at a time, and says the number of each that was acknowledged, until it is killed. */
async function acks(): Promise<void> {
  const log = await openLog({ files, runtime: systemRuntime, segmentBytes: 100_000 });
  say(`open ${log.recovered.length}`);
  const writer = async (id: number) => {
    for (let i = 0; ; i++) {
      const key = `${argument}/${id}/${i}`;
      const { first, durable } = log.append([draft(key, i, 100 + 50 * id)]);
      try {
        await durable;
        say(`ack ${first} ${key}`);
      } catch (error) {
        say(`refused ${first} ${error instanceof SyncError ? `${error.code} ${error.retryable}` : String(error)}`);
      }
      if (i >= 400) return;
    }
  };
  await Promise.all(Array.from({ length: 8 }, (_, id) => writer(id)));
  await log.close();
}

/** Claims the folder and keeps it until it is killed. */
async function hold(): Promise<void> {
  await files.claim();
  say("claimed");
  await new Promise(() => process.stdin.resume());
}

/** Claims at each line of stdin that says so, releases at the others. */
async function race(): Promise<void> {
  let claim: Claim | undefined;
  say("ready");
  for await (const line of createInterface(process.stdin)) {
    if (line === "claim") {
      claim = await files.claim().catch((error: SyncError) => {
        say(error.message);
        return undefined;
      });
      if (claim !== undefined) say("claimed");
    } else {
      await claim?.release();
      claim = undefined;
      say("released");
    }
  }
}

const works: Readonly<Record<string, () => Promise<void>>> = { acks, hold, race };
process.on("unhandledRejection", (error) => {
  say(`unhandled ${String(error)}`);
  process.exit(9);
});
await works[work]?.();
say("end");
