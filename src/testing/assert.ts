import { SyncError } from "../error.ts";
import type { ErrorCode } from "../error.ts";

/** A claim of the suite that did not hold. */
export class ConformanceError extends Error {
  override readonly name = "ConformanceError";
}

export function claim(holds: boolean, what: string): asserts holds {
  if (!holds) throw new ConformanceError(what);
}

/** Compares by content: bytes by their bytes, objects by their own properties, NaN as itself. */
export function same(actual: unknown, expected: unknown, what: string): void {
  const [got, wanted] = [show(actual), show(expected)];
  if (got !== wanted) throw new ConformanceError(`${what}: got ${clip(got)}, expected ${clip(wanted)}`);
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

/** A text that two values share exactly when they have the same content. */
export function show(value: unknown): string {
  if (value instanceof Uint8Array) return `bytes(${value.length}) ${hex(value)}`;
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

function hex(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += byte.toString(16).padStart(2, "0");
  return text;
}

/** Failure messages are read by people: long ones keep both ends. */
function clip(text: string): string {
  return text.length <= 400 ? text : `${text.slice(0, 300)} … ${text.slice(-60)} (${text.length} characters)`;
}

function describe(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : clip(show(error));
}
