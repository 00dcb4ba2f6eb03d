/** The chain of the crash tests, for the child that is killed and for the test that looks afterwards. */
import { join } from "node:path";
import { layer } from "../../src/chain/layer.ts";
import type { LayerSpec } from "../../src/chain/layer.ts";
import type { Runtime } from "../../src/runtime.ts";
import type { Store } from "../../src/store.ts";
import { lmdb } from "../../src/stores/lmdb.ts";
import { systemRuntime } from "../../src/system.ts";
import { chaos } from "../../src/testing/chaos.ts";

export const WRITERS = 6;
export const KEYS_A_WRITER = 20;
export const COUNTERS = 3;

/** Small, so that one short life sees segments come and go. */
export const JOURNAL = { folder: "journal", segmentBytes: 4096, keptBytesMax: 8192 };

/** Background work comes ten times as often: a life of a fraction of a second sees cursors saved and segments removed. */
export const hastened: Runtime = {
  ...systemRuntime,
  timer: (delayMs, fn, background) => systemRuntime.timer(background === true ? delayMs / 10 : delayMs, fn, background),
};

export const CACHE = "lmdb:./cache";
export const GIT = "git:./truth.git?create=true";

/** Which layers: with git at the end, which decides then, or without. */
export type Kind = "git" | "disk";

/** A store of record that fails, comes late and loses answers, unless `round` is undefined; and for "git" git below. */
export async function layersIn(folder: string, kind: Kind, round: number | undefined): Promise<(string | LayerSpec)[]> {
  const disk = await diskIn(folder);
  const rates = round === undefined ? {} : { before: 0.1, after: 0.1, delay: 0.3 };
  const slow = chaos(disk, { runtime: systemRuntime, seed: round ?? 0, rates, verbs: ["write"], delayMsMax: 20 });
  return ["memory:", CACHE, layer(slow, { name: "disk", role: "store" }), ...(kind === "git" ? [GIT] : [])];
}

export function diskIn(folder: string): Promise<Store> {
  return lmdb(join(folder, "disk"), { runtime: systemRuntime });
}
