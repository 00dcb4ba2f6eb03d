import { readFileSync, readlinkSync } from "node:fs";
import { hostname } from "node:os";

/** What tells a process from every other, also from one that gets its number later or has it in another container. */
export interface ProcessId {
  readonly pid: number;
  /** When it began, as the kernel counts it; "0" where there is no /proc. */
  readonly start: string;
  readonly host: string;
  /** New at each start of the machine; empty where the system has none. */
  readonly boot: string;
  /** Numbers of other namespaces (containers) mean nothing here; empty where there are none. */
  readonly namespace: string;
}

const START_FIELD = 19; // the 22nd of /proc/PID/stat, counted behind the name, which may hold anything
const DEAD_STATES = new Set(["Z", "X"]); // ended, and only not yet fetched by the parent

export function thisProcess(): ProcessId {
  const { pid } = process;
  const boot = readLine("/proc/sys/kernel/random/boot_id");
  return { pid, start: stateOf(pid)?.start ?? "0", host: hostname(), boot, namespace: namespaceOf() };
}

/** "unknown": it is of another machine or container. */
export function lifeOf(other: ProcessId, own: ProcessId): "alive" | "dead" | "unknown" {
  if (other.host !== own.host) return "unknown";
  if (other.boot !== own.boot) return "dead"; // this machine was started again since
  if (other.namespace !== own.namespace) return "unknown";
  const state = stateOf(other.pid);
  const isThere = state === undefined ? answers(other.pid) : state.alive && state.start === other.start;
  return isThere ? "alive" : "dead";
}

function stateOf(pid: number): { readonly alive: boolean; readonly start: string } | undefined {
  const text = readLine(`/proc/${pid}/stat`);
  if (text === "") return undefined;
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return { alive: !DEAD_STATES.has(fields[0] ?? ""), start: fields[START_FIELD] ?? "0" };
}

function answers(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return !(error instanceof Error && "code" in error && error.code === "ESRCH");
  }
}

/** Empty where there is no such file. */
function readLine(path: string): string {
  try {
    return readFileSync(path, "utf8").trimEnd();
  } catch {
    return "";
  }
}

function namespaceOf(): string {
  try {
    return readlinkSync("/proc/self/ns/pid");
  } catch {
    return ""; // not Linux, where a number is enough
  }
}
