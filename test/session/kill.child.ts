/**
 * One run of a mirror, in a process of its own: `node kill.child.js FROM TO POSITION DIE_AT`. It is killed at the so
 * many-th step of what it does with its stores and its position, in the middle of it; 0: never.
 */
import { readFile, rename, rm, writeFile } from "node:fs/promises";
import { mirror } from "../../src/session/index.ts";
import type { Store } from "../../src/store.ts";
import { file } from "../../src/stores/file.ts";
import { lmdb } from "../../src/stores/lmdb.ts";
import { systemRuntime as runtime } from "../../src/system.ts";

const [, , source = "", target = "", position = "", dieAt = "0"] = process.argv;
let left = Number(dieAt);

/** Begins the work, and ends the process if it is time to. */
async function step<T>(work: () => Promise<T>): Promise<T> {
  const under = work();
  if (--left === 0) {
    await Promise.resolve();
    process.kill(process.pid, "SIGKILL");
  }
  return under;
}

function mortal(inner: Store): Store {
  return {
    name: inner.name,
    supports: inner.supports,
    read: (keys, options) => step(() => inner.read(keys, options)),
    write: (writes, options) => step(() => inner.write(writes, options)),
    forget: (items, options) => step(() => inner.forget(items, options)),
    list: (range, options) => inner.list(range, options),
    watch: (range, options) => inner.watch(range, options),
    close: () => inner.close(),
  };
}

const from = await file(source, { runtime, readonly: true });
const to = await lmdb(target, { runtime });
await mirror(mortal(from), mortal(to), {
  batchKeysMax: 7,
  parallel: 2,
  maxDelete: "100%",
  position: {
    load: () => readFile(position, "utf8").catch(() => undefined),
    save: (text) =>
      step(async () => {
        await writeFile(`${position}.tmp`, text);
        await rename(`${position}.tmp`, position);
      }),
    clear: () => step(() => rm(position, { force: true })),
  },
});
await from.close();
await to.close();
