import type { Runtime } from "../runtime.ts";

/** Where the doctor writes, in every store. A key like any other to all of them. */
export const PREFIX = ".doctor/";

/** A prefix that nobody else has: `.doctor/`, 16 hexadecimal digits, `/`. */
export function ownPrefix(runtime: Runtime): string {
  const digits = Array.from(runtime.random(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0"));
  return `${PREFIX}${digits.join("")}/`;
}
