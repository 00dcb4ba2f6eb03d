import { SyncError } from "../../error.ts";
import type { Runtime } from "../../runtime.ts";
import { conditionOf, put, remove } from "./bucket.ts";
import type { Conditions, Over } from "./bucket.ts";
import type { Call } from "./call.ts";
import type { Client } from "./client.ts";
import { RESERVED } from "./names.ts";

/** What an endpoint does with conditions, found out by trying. */
export interface Abilities {
  readonly put: Conditions;
  /** A DELETE with If-Match of another ETag removes nothing. */
  readonly remove: boolean;
}

const ETAG_OF_NOBODY = "0".repeat(32);

/**
 * Tries conditions on an object of its own, which it removes again: four to nine requests. An endpoint counts as able only
 * when it both takes what holds and refuses what does not: several take the header and ignore it.
 */
export async function probe(client: Client, call: Call, runtime: Runtime, prefix: string): Promise<Abilities> {
  const id = Array.from(runtime.random(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  const name = `${prefix}${RESERVED}probe-${id}`;
  const write = (text: string, over: Over, conditions: Conditions) =>
    put(client, call, { name, body: new TextEncoder().encode(`${text} ${id}`) }, {}, over, conditions);
  /** The new ETag; undefined when refused, also with "not implemented". */
  const trial = async (text: string, over: Over, conditions: Conditions) => {
    try {
      return await write(text, over, conditions);
    } catch (error) {
      if (error instanceof SyncError && error.code === "UNAVAILABLE" && !error.retryable) return undefined;
      throw error;
    }
  };
  try {
    let etag = await trial("first", "nothing", "quoted");
    if (etag === undefined || (await trial("second", "nothing", "quoted")) !== undefined) {
      return { put: "none", remove: false };
    }
    for (const conditions of ["quoted", "unquoted"] as const) {
      const next = await trial(conditions, { etag }, conditions);
      if (next === undefined) continue;
      etag = next;
      if ((await trial("wrong", { etag: ETAG_OF_NOBODY }, conditions)) !== undefined) break;
      const kept = !(await remove(client, call, name, conditionOf({ etag: ETAG_OF_NOBODY }, conditions)));
      return { put: conditions, remove: kept };
    }
    return { put: "none", remove: false };
  } finally {
    await remove(client, call, name);
  }
}
