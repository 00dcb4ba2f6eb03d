import { isDead } from "../entry.ts";
import { SyncError } from "../error.ts";
import type { Write, WriteResult } from "../store.ts";
import type { LayerCalls } from "./call.ts";
import { giveInBatches } from "./give.ts";
import { readKeys } from "./read.ts";
import type { ChainState } from "./state.ts";
import { copyFor } from "./stream.ts";

/**
 * A key that the authority lacks is brought up from the layers below, so that a condition is judged on what is true. What
 * it refuses as older than what it has collected it gets as a write of now: a layer below has it, so it was not collected.
 *
 * @param writeAnew Makes such a write, on its condition, and sees to it that the other layers get it as well.
 * @throws SyncError when the authority could not be given what is below; TOO_OLD when that is a large value.
 */
export async function fillFromBelow(
  state: ChainState,
  authority: number,
  calls: LayerCalls,
  writes: readonly Write[],
  writeAnew: (write: Write) => Promise<WriteResult | undefined>,
): Promise<void> {
  if (!state.layers.slice(authority + 1).some((layer) => layer.role === "store")) return;
  const keys = writes.map(({ entry }) => entry.key);
  const answers = await readKeys(state, keys, { authority: true });
  const { name } = calls.layer;
  const others = state.layers.filter((layer) => layer !== calls.layer);
  const missing: Write[] = [];
  for (const { entry, asOf, body, from } of answers) {
    if (entry === undefined || (others.every((other) => !isFrom(from, other.name)) && isFrom(from, name))) continue;
    missing.push(copyFor(calls.layer, { entry, asOf, body }));
  }
  if (missing.length === 0) return;
  const results = await giveInBatches(state, authority, missing);
  for (const [i, result] of results.entries()) {
    if (result.status === "failed") throw result.error;
    const write = missing[i] as Write;
    if (result.status !== "too-old" || isDead(write.entry, state.runtime.now())) continue;
    const anew = await writeAnew(await asOfNow(state, calls, write));
    if (anew?.status === "failed") throw anew.error;
  }
}

/** Whether an answer came from the layer of this name, or from one inside it. */
function isFrom(from: string, layerName: string): boolean {
  return from === layerName || from.startsWith(`${layerName}/`);
}

/** The same value as of now, where nobody has written the key meanwhile. */
async function asOfNow(state: ChainState, { layer }: LayerCalls, { entry }: Write): Promise<Write> {
  const { key } = entry;
  if (entry.state === "stub") {
    const what = `${layer.name} has collected what is newer than this, and takes no large value anew`;
    const cure = "set the key once without a condition";
    throw new SyncError("TOO_OLD", what, { store: state.name, operation: "write", key, cure });
  }
  const version = await state.clock.stamp(entry.version);
  return { entry: { ...entry, version }, asOf: state.runtime.now(), if: "absent" };
}
