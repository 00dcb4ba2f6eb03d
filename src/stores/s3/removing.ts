import { SyncError } from "../../error.ts";
import type { Forget } from "../../store.ts";
import { VERSION_ZERO } from "../../version.ts";
import { conditionOf, put, remove } from "./bucket.ts";
import type { Call } from "./call.ts";
import { placed } from "./failures.ts";
import { headersOf } from "./object.ts";
import type { Found } from "./object.ts";
import { grouped } from "./slots.ts";
import { look, objectName, whereOf } from "./space.ts";
import type { Space } from "./space.ts";

/** How long after its grave was sent a DELETE may be sent, in milliseconds; writers leave a grave alone for longer. */
const GRAVE_MS = 1_000;
const TRIES_MAX = 20;

/** Removes what has exactly the version named, after the watermark was raised for what is collected. */
export async function forgetAll(space: Space, call: Call, items: readonly Forget[]): Promise<void> {
  const collected = items.reduce(
    (max, { reason, version }) => (reason === "collected" && version > max ? version : max),
    VERSION_ZERO,
  );
  if (collected > VERSION_ZERO) await space.watermark.raise(call, collected);
  const keys = grouped(items, ({ key }) => key);
  const endings = [...keys].map(([key, mine]) => {
    const name = objectName(space, key);
    const work = async () => {
      for (const { version } of mine) await forget(space, call, key, name, version);
    };
    return space.slots.run(() => space.turns.run(name, work));
  });
  for (const ending of await Promise.allSettled(endings)) if (ending.status === "rejected") throw ending.reason;
}

/**
 * A DELETE on condition where the endpoint has that. Elsewhere a DELETE would also remove what another process wrote since
 * the look. There the object is first replaced, on condition, by a grave: a marker that counts as nothing and that
 * writers wait for. Only a DELETE that is on its way for seconds can then remove something newer.
 */
async function forget(space: Space, call: Call, key: string, name: string, version: string): Promise<void> {
  const { client, abilities, facts, runtime } = space;
  for (let tries = 0; tries < TRIES_MAX; tries++) {
    const found = await look(space, call, key, name);
    if (found?.head.version !== version) return;
    facts.drop(name);
    if (abilities.remove) {
      if (await remove(client, call, name, conditionOf({ etag: found.etag }, abilities.put))) return;
      continue;
    }
    if (abilities.put === "none") {
      await remove(client, call, name);
      return;
    }
    const sentAt = runtime.monotonic();
    if ((await bury(space, call, key, name, found)) === undefined) continue;
    if (runtime.monotonic() - sentAt > GRAVE_MS) continue; // too late: writers may give up waiting soon
    await remove(client, call, name);
    return;
  }
  const cure = "try again later";
  const details = { ...placed(whereOf(space, call, key)), cure };
  throw new SyncError("OVERLOADED", "the key could not be removed: it is written all the time", details);
}

async function bury(space: Space, call: Call, key: string, name: string, found: Found): Promise<string | undefined> {
  const { client, runtime, abilities } = space;
  const chance = Array.from(runtime.random(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  const body = new TextEncoder().encode(`sync grave ${found.head.version} ${chance}\n`);
  const headers = { ...headersOf({ ...found.head, state: "deleted", meta: {} }), "x-amz-meta-sync-grave": "1" };
  return put(client, call, { name, key, body }, headers, { etag: found.etag }, abilities.put);
}
