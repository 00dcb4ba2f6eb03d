import { SyncError } from "../error.ts";
import { HEADER } from "../protocol.ts";
import type { ReadOptions } from "../store.ts";
import { isVersion } from "../version.ts";
import type { Call } from "./state.ts";

/** How fresh the answer has to be, as the request's Cache-Control says it (RFC 9111, section 5.2.1). */
export interface Wanted {
  readonly options: Pick<ReadOptions, "authority" | "maxAgeMs" | "atLeast">;
  /** Only what this node's near layers can answer. */
  readonly onlyIfCached: boolean;
  /** Nothing is asked for but what the chain answers by itself. */
  readonly plain: boolean;
}

const PLAIN: Wanted = { options: {}, onlyIfCached: false, plain: true };

/** @throws SyncError INVALID for a directive that is malformed. Unknown ones are passed over, as the standard has it. */
export function wantedOf({ request }: Call, key: string): Wanted {
  const control = request.headers.get("cache-control");
  const atLeast = request.headers.get(HEADER.atLeast);
  if (control === null && atLeast === null) return PLAIN;
  let authority: boolean | undefined;
  let maxAgeMs: number | undefined;
  let onlyIfCached = false;
  for (const part of (control ?? "").split(",")) {
    const [name = "", value = ""] = part.trim().toLowerCase().split("=");
    if (name === "no-cache" || name === "no-store") authority = true;
    else if (name === "only-if-cached") onlyIfCached = true;
    else if (name === "max-age") maxAgeMs = seconds(value);
  }
  if (maxAgeMs === 0) authority = true;
  if (atLeast !== null && !isVersion(atLeast)) throw new SyncError("INVALID", `${HEADER.atLeast} is not a version`);
  const floor = atLeast === null ? {} : { atLeast: new Map([[key, atLeast]]) };
  const age = authority === true ? { authority } : maxAgeMs === undefined ? {} : { maxAgeMs };
  return { options: { ...age, ...floor }, onlyIfCached, plain: false };
}

function seconds(text: string): number {
  const digits = text.replaceAll('"', "");
  if (!/^\d{1,10}$/.test(digits)) {
    throw new SyncError("INVALID", "max-age is not a whole number of seconds", { cure: "write max-age=5" });
  }
  return Number(digits) * 1000;
}
