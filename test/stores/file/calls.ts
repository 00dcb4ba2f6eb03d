import calls from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { basename, dirname } from "node:path";

/** Every call of the file system that may change something, named, before it is made. */
export type OnCall = (call: string) => void;

const NAMES = ["rename", "link", "unlink", "mkdir", "rmdir", "open"] as const;
const HANDLE_NAMES = ["appendFile", "writeFile", "sync"] as const;

/** Puts `onCall` before every such call until the function it gives is called. What it throws is thrown by the call. */
export async function watchCalls(onCall: OnCall): Promise<() => void> {
  const before = { ...calls };
  const some = await calls.open(process.execPath, "r");
  const prototype = Object.getPrototypeOf(some) as FileHandle;
  await some.close();
  const beforeHandle = Object.fromEntries(HANDLE_NAMES.map((name) => [name, prototype[name]]));
  const paths = new WeakMap<object, string>();
  const wrapped: Record<string, unknown> = {};
  for (const name of NAMES) {
    const call = before[name] as (...args: unknown[]) => Promise<unknown>;
    wrapped[name] = async (...args: unknown[]) => {
      const to = name === "rename" || name === "link" ? ` ${shortOf(args[1])}` : "";
      const isReading = name === "open" && args[1] === "r";
      if (!isReading) onCall(`${name} ${shortOf(args[0])}${to}`);
      const result = await call(...args);
      if (name === "open") paths.set(result as object, shortOf(args[0]));
      return result;
    };
  }
  for (const name of HANDLE_NAMES) {
    const call = prototype[name] as (...args: unknown[]) => Promise<unknown>;
    (prototype as unknown as Record<string, unknown>)[name] = async function (this: FileHandle, ...args: unknown[]) {
      onCall(`${name} ${paths.get(this) ?? "?"}`);
      return call.apply(this, args);
    };
  }
  Object.assign(calls, wrapped);
  syncBuiltinESMExports();
  return () => {
    Object.assign(calls, before);
    Object.assign(prototype, beforeHandle);
    syncBuiltinESMExports();
  };
}

/** The last two parts of a path, with what is made by chance left out. */
function shortOf(path: unknown): string {
  const text = String(path);
  const name = basename(text)
    .replace(/^[0-9a-f]{40}\..*/, "VALUE")
    .replace(/^record\..*/, "RECORD")
    .replace(/^[0-9a-f]{38}$/, "KEY")
    .replace(/^\d+\.\d+\.[0-9a-f]{16}$/, "HOLDER");
  return `${basename(dirname(text)).replace(/^[0-9a-f]{2}$/, "XX")}/${name.replace(/^[0-9a-f]{2}$/, "XX")}`;
}
