/**
 * What the tests of file run in processes of their own: `node file.child.js WORK FOLDER ARGUMENT`. Each line on stdout is
 * written at once and says what was acknowledged.
 */
import { writeSync } from "node:fs";
import calls from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { file } from "../../src/stores/file.ts";
import { systemRuntime } from "../../src/system.ts";
import { entryAt, keysOf, versionAt } from "./file/crash.ts";

const [, , work = "", folder = "", argument = ""] = process.argv;
const store = await file(folder, { runtime: systemRuntime });
const say = (line: string): void => {
  writeSync(1, `${line}\n`);
};

/** The process is killed before the file system is called for the so many-th time to change something. */
function dieAt(count: number): void {
  let left = count;
  const dying = <A extends unknown[], R>(call: (...args: A) => R) => {
    return (...args: A): R => {
      if (--left === 0) process.kill(process.pid, "SIGKILL");
      return call(...args);
    };
  };
  calls.rename = dying(calls.rename);
  calls.link = dying(calls.link);
  calls.unlink = dying(calls.unlink);
  calls.mkdir = dying(calls.mkdir) as typeof calls.mkdir;
  calls.rmdir = dying(calls.rmdir);
  syncBuiltinESMExports();
}

/** Writes all keys, each time with the next number, until it is killed. */
async function acks(): Promise<void> {
  const [begin = 0, calls = 0, round = 0] = argument.split(",").map(Number);
  dieAt(calls);
  for (let i = begin; ; i++) {
    const writes = keysOf(round).map((key) => ({ entry: entryAt(key, i), asOf: 0 }));
    const half = i % 2 === 0 ? writes : writes.slice(0, 2);
    const results = await store.write(half);
    if (results.some(({ status }) => status !== "stored")) throw new Error(JSON.stringify(results));
    for (const { entry } of half) say(`${i} ${entry.key}`);
  }
}

/** Adds 1 to a counter so many times by conditional writes, and offers versions of its own of shared keys. */
async function race(): Promise<void> {
  const [id = 0, rounds = 0] = argument.split(",").map(Number);
  for (let done = 0; done < rounds;) {
    const [answer] = await store.read(["counter"]);
    const before = answer?.entry;
    const count = before === undefined ? 0 : Number(new TextDecoder().decode(before.value ?? new Uint8Array()));
    const value = new TextEncoder().encode(String(count + 1));
    const next = { ...entryAt("counter", 1), value, version: versionAt(count + 1, id) };
    const [result] = await store.write([{ entry: next, asOf: 0, if: before?.version ?? "absent" }]);
    if (result?.status === "stored") done++;
    const offered = [0, 1, 2].map((n) => {
      return { ...entryAt(`shared/${n}`, done + n), version: versionAt((done * 7919 + n * id) % 1000, id) };
    });
    await store.write(offered.map((entry) => ({ entry, asOf: 0 })));
    say(offered.map(({ key, version }) => `${key} ${version}`).join("\n"));
  }
}

const works: Readonly<Record<string, () => Promise<void>>> = { acks, race };
await works[work]?.();
await store.close();
say("end");
