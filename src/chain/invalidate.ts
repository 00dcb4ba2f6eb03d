import { stubOf } from "../entry.ts";
import type { Head } from "../entry.ts";
import type { Write } from "../store.ts";
import { versionMs } from "../version.ts";
import { messageOf } from "./call.ts";
import type { LayerCalls } from "./call.ts";
import type { ChainState } from "./state.ts";
import { HEADS_ONLY } from "./stream.ts";

/**
 * Newer versions than some layers hold became known: the floor rises, walks under way are overtaken, and caches above
 * `below` get a stub where they have an older copy. A memory layer has it when this returns, the others soon after.
 */
export function invalidate(state: ChainState, below: number, heads: readonly Head[]): void {
  const now = state.runtime.now();
  for (const head of heads) {
    // What was known already, as the echo of an own write, is no news to walks that began since.
    if (state.floors.raise(head, now)) state.flights.overtake(head.key, head.version);
    state.negatives.delete(head.key);
  }
  for (const [index, calls] of state.calls.entries()) {
    if (index === below || calls.layer.role !== "cache" || calls.layer.readonly) continue;
    const slots = state.slots[index];
    if (slots === undefined) {
      state.background.add(stubOlderCopies(state, calls, heads, now));
      continue;
    }
    const stubs = heads.filter((head) => isOlder(slots.held(head.key), head)).map((head) => stub(head, now));
    if (stubs.length > 0) state.background.add(writeStubs(state, calls, stubs));
  }
}

/** A newer version is about to be told to a watcher: what he reads next is not older than that. */
export function learn(state: ChainState, head: Head): void {
  const now = state.runtime.now();
  if (state.floors.raise(head, now)) state.flights.overtake(head.key, head.version);
  state.negatives.delete(head.key);
  stubMemory(state, head, now);
}

/** Puts a stub into every memory layer that has an older copy, at once. */
export function stubMemory(state: ChainState, head: Head, now: number): void {
  for (const [index, calls] of state.calls.entries()) {
    if (calls.layer.role !== "cache" || !isOlder(state.slots[index]?.held(head.key), head)) continue;
    state.background.add(writeStubs(state, calls, [stub(head, now)]));
  }
}

async function stubOlderCopies(state: ChainState, calls: LayerCalls, heads: readonly Head[], now: number) {
  const { store } = calls.layer;
  const { batchMax } = store.supports;
  for (let at = 0; at < heads.length; at += batchMax) {
    const batch = heads.slice(at, at + batchMax);
    try {
      const keys = batch.map((head) => head.key);
      const answers = await calls.call("read", (call) => store.read(keys, { ...call, ...HEADS_ONLY }), keys.length);
      const older = batch.filter((head, i) => isOlder(answers[i]?.entry, head));
      if (older.length === 0) continue;
      const stubs = older.map((head) => stub(head, now));
      await writeStubs(state, calls, stubs);
    } catch (error) {
      state.report({ kind: "write-failed", layer: calls.layer.name, message: messageOf(error) });
    }
  }
}

async function writeStubs(state: ChainState, calls: LayerCalls, stubs: readonly Write[]): Promise<void> {
  const { store, name } = calls.layer;
  const { batchMax } = store.supports;
  try {
    for (let at = 0; at < stubs.length; at += batchMax) {
      const batch = stubs.slice(at, at + batchMax);
      await calls.call("write", (call) => store.write(batch, call), batch.length);
    }
  } catch (error) {
    state.report({ kind: "write-failed", layer: name, message: messageOf(error) });
  }
}

function isOlder(held: Head | undefined, head: Head): boolean {
  return held !== undefined && held.version < head.version;
}

/** Dated when it was written: whoever tells of it may not know of newer ones, and once expired it is an answer. */
function stub(head: Head, now: number): Write {
  return { entry: stubOf(head), asOf: Math.min(now, versionMs(head.version)) };
}
