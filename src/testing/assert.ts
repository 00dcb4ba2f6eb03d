import { SyncError } from "../error.ts";
import type { ErrorCode } from "../error.ts";

/** A claim of the suite that did not hold. */
export class ConformanceError extends Error {
  override readonly name = "ConformanceError";
}

export function claim(holds: boolean, what: string): asserts holds {
  if (!holds) throw new ConformanceError(what);
}

/** Compares by content: bytes by their bytes, objects by their own properties in any order, NaN as itself. */
export function same(actual: unknown, expected: unknown, what: string): void {
  if (equal(actual, expected)) return;
  throw new ConformanceError(`${what}: got ${clip(show(actual))}, expected ${clip(show(expected))}`);
}

export function equal(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (a instanceof Uint8Array || b instanceof Uint8Array) {
    if (!(a instanceof Uint8Array && b instanceof Uint8Array) || a.length !== b.length) return false;
    return a.every((byte, i) => byte === b[i]);
  }
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  if (a instanceof Map || b instanceof Map) return a instanceof Map && b instanceof Map && equal([...a], [...b]);
  if (a instanceof SyncError || b instanceof SyncError) {
    return a instanceof SyncError && b instanceof SyncError && a.code === b.code;
  }
  const [x, y] = [a as Record<string, unknown>, b as Record<string, unknown>];
  const names = Object.keys(x);
  return (
    names.length === Object.keys(y).length && names.every((name) => Object.hasOwn(y, name) && equal(x[name], y[name]))
  );
}

/** Awaits a rejection with this code and returns it. */
export async function rejects(code: ErrorCode, call: () => unknown, what: string): Promise<SyncError> {
  let outcome: unknown;
  try {
    outcome = await call();
  } catch (error) {
    claim(error instanceof SyncError, `${what}: threw ${describe(error)}, expected a SyncError ${code}`);
    claim(error.code === code, `${what}: threw ${describe(error)}, expected ${code}`);
    return error;
  }
  throw new ConformanceError(`${what}: expected ${code}, but the call succeeded with ${clip(show(outcome))}`);
}

/** A value as a failure prints it. */
export function show(value: unknown): string {
  if (value instanceof Uint8Array) return `bytes(${value.length}) ${hex(value)}`;
  if (value instanceof Set) return `Set ${show([...value])}`;
  if (value instanceof SyncError) return `SyncError ${value.code}`;
  if (Array.isArray(value)) return `[${value.map(show).join(", ")}]`;
  if (value instanceof Map) return `Map ${show([...value].map(([key, item]) => [key, item]))}`;
  if (typeof value === "object" && value !== null) {
    const fields = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
    return `{ ${fields.map(([name, item]) => `${JSON.stringify(name)}: ${show(item)}`).join(", ")} }`;
  }
  if (typeof value === "string") return JSON.stringify(value);
  return Object.is(value, -0) ? "-0" : String(value);
}

const SHOWN_BYTES = 64;

function hex(bytes: Uint8Array): string {
  const text = Array.from(bytes.subarray(0, SHOWN_BYTES), (byte) => byte.toString(16).padStart(2, "0")).join("");
  return bytes.length > SHOWN_BYTES ? `${text}…` : text;
}

/** Failure messages are read by people: long ones keep both ends. */
function clip(text: string): string {
  return text.length <= 400 ? text : `${text.slice(0, 300)} … ${text.slice(-60)} (${text.length} characters)`;
}

function describe(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : clip(show(error));
}
