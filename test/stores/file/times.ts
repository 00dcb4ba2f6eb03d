import calls from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import type { Runtime } from "../../../src/runtime.ts";
import { systemRuntime } from "../../../src/system.ts";

interface Stat {
  mtimeNs: bigint;
  ctimeNs: bigint;
  isFile(): boolean;
}

/** A file system whose clock stands, and a process whose clock goes on only where somebody waits. */
export interface Times {
  /** The time of every change of every file, in Unix ms. */
  changedMs: number;
  nowMs: number;
  readonly runtime: Runtime;
  /** Paths that were opened to be read since this was emptied last. */
  readonly opened: string[];
  restore(): void;
}

export async function standing(): Promise<Times> {
  const before = { ...calls };
  const some = await calls.open(process.execPath, "r");
  const prototype = Object.getPrototypeOf(some) as FileHandle;
  await some.close();
  const stat = Object.getOwnPropertyDescriptor(prototype, "stat")?.value as FileHandle["stat"];
  const times: Times = {
    changedMs: 1_750_000_000_500,
    nowMs: 1_750_000_001_500,
    opened: [],
    runtime: {
      ...systemRuntime,
      now: () => times.nowMs,
      timer(delayMs, fn, background) {
        times.nowMs += delayMs;
        return systemRuntime.timer(0, fn, background);
      },
    },
    restore() {
      Object.assign(calls, before);
      prototype.stat = stat;
      syncBuiltinESMExports();
    },
  };
  const stopped = (found: unknown) => {
    const file = found as Stat;
    const ns = BigInt(times.changedMs) * 1_000_000n;
    if (file.isFile()) Object.assign(file, { mtimeNs: BigInt(1.7e18), ctimeNs: ns });
    return file;
  };
  calls.lstat = (async (...args: Parameters<typeof calls.lstat>) =>
    stopped(await before.lstat(...args))) as typeof calls.lstat;
  prototype.stat = async function (this: FileHandle, ...args: unknown[]) {
    return stopped(await (stat as (...args: unknown[]) => Promise<unknown>).apply(this, args));
  } as typeof stat;
  calls.open = async (...args: Parameters<typeof calls.open>) => {
    if (args[1] === "r") times.opened.push(String(args[0]));
    return before.open(...args);
  };
  syncBuiltinESMExports();
  return times;
}
