import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { NodeProcess } from "./node.ts";

/** One global node on a git repository, one regional node on it, and two local nodes on that. */
export interface Levels {
  readonly global: NodeProcess;
  readonly region: NodeProcess;
  readonly locals: readonly [NodeProcess, NodeProcess];
  /** Nearest to the user first. */
  readonly all: readonly NodeProcess[];
  /** Tells the nodes to end, so that what waits in one is sent to the next. @returns the exit status of each. */
  stop(): Promise<readonly (number | null)[]>;
  /** Ends every process that was begun, in whatever state, also in the middle of a start. */
  end(): Promise<void>;
}

/** How long a node may take to end once it is told to, in milliseconds; and when the tour has been given up. */
const STOP_MS = 30_000;
const END_MS = 3_000;
/** A node that came back is asked again at once, so that the tour shows its own speed and not that of patience. */
const QUICK = "breakerPause=500ms";

/** Starts them from the source of truth upwards, since each has to know the port of the next. */
export async function startLevels(levels: Levels): Promise<number[]> {
  const { global, region, locals } = levels;
  const below = [await global.start(), await region.start()];
  return [...below, ...(await Promise.all(locals.map((local) => local.start())))];
}

/** @param bare the repository, relative to the folder. */
export function levelsIn(folder: string, bare: string, signal: AbortSignal): Levels {
  mkdirSync(folder, { recursive: true });
  const node = (name: string, deepest: () => string) =>
    new NodeProcess({ name, folder: join(folder, name), chain: () => `memory: lmdb:data ${deepest()}`, signal });
  const global = node("global", () => `git:../${bare}#main?cacheFolder=cache`);
  const region = node("region", () => `${global.url}/?${QUICK}`);
  const local = (name: string) => node(name, () => `${region.url}/?${QUICK}`);
  const locals = [local("local-a"), local("local-b")] as const;
  const all = [...locals, region, global];
  return {
    global,
    region,
    locals,
    all,
    async stop() {
      // What waits at one level goes to the next before that is told to end.
      const ended = await Promise.all(locals.map((each) => each.stop(STOP_MS)));
      for (const each of [region, global]) ended.push(await each.stop(STOP_MS));
      return ended;
    },
    async end() {
      await Promise.all(all.map((each) => each.stop(END_MS)));
    },
  };
}
