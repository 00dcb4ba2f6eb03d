import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import type { Runtime } from "../../runtime.ts";
import { lowVersion } from "../../version.ts";
import type { Version } from "../../version.ts";

/** Where on the branch's first-parent line a key that Sync never wrote was last touched, and how. */
export interface Touch {
  /** Counted from the root, which is 1. */
  readonly position: number;
  /** The first 16 digits of the commit's id: what makes the version of this branch differ from another's. */
  readonly node: string;
  readonly state: "present" | "deleted";
}

/**
 * What one pass over the log found, up to a commit: all that the trees cannot say about keys without a record. About
 * 100 bytes of memory for each key that Sync never wrote, and for each that was collected.
 */
export interface History {
  /** The commit up to which it was read; null for a branch without commits. */
  readonly commit: string | null;
  /** The number of commits on the first-parent line up to there. */
  readonly length: number;
  /** By key. Commits share one object for all the keys they touched. */
  readonly touches: Map<string, Touch>;
  /** The record names of keys that Sync removed for good: if they come back, they need a new version. */
  readonly forgotten: Set<string>;
  /** Paths that are symbolic links or submodules: no files, so no keys, and not to be written through. */
  readonly others: Set<string>;
}

export function emptyHistory(): History {
  return { commit: null, length: 0, touches: new Map(), forgotten: new Set(), others: new Set() };
}

export function touchVersion({ position, node }: Touch): Version {
  return lowVersion(position, node);
}

const FORMAT = "microsync history 1";

/**
 * Keeps a history on disk, so that opening reads the log from there on only. It is a cache: what it says can be read
 * from the repository again, so a file that is damaged, old or gone only costs time.
 */
export async function saveHistory(runtime: Runtime, file: string, history: History): Promise<void> {
  const byTouch = new Map<Touch, string[]>();
  for (const [key, touch] of history.touches) {
    const keys = byTouch.get(touch);
    if (keys === undefined) byTouch.set(touch, [key]);
    else keys.push(key);
  }
  const { commit, length, forgotten, others } = history;
  const lines = [JSON.stringify({ format: FORMAT, commit, length, forgotten: [...forgotten], others: [...others] })];
  for (const [touch, keys] of byTouch) lines.push(JSON.stringify({ ...touch, keys }));
  lines.push("end\n");
  const chance = Buffer.from(runtime.random(new Uint8Array(6))).toString("hex");
  const temporary = `${file}.${chance}.tmp`;
  try {
    await mkdir(dirname(file), { recursive: true, mode: 0o700 });
    await writeFile(temporary, lines.join("\n"), { mode: 0o600 });
    await rename(temporary, file);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

/** Undefined when there is none that can be used. */
export async function loadHistory(file: string): Promise<History | undefined> {
  try {
    const [first = "", ...rest] = (await readFile(file, "utf8")).split("\n");
    const head = JSON.parse(first) as Record<string, unknown>;
    if (head["format"] !== FORMAT || rest.at(-2) !== "end") return undefined;
    const touches = new Map<string, Touch>();
    for (const line of rest.slice(0, -2)) {
      const { keys, position, node, state } = JSON.parse(line) as Touch & { keys: string[] };
      const touch = { position, node, state };
      for (const key of keys) touches.set(key, touch);
    }
    return {
      commit: head["commit"] as string | null,
      length: head["length"] as number,
      touches,
      forgotten: new Set(head["forgotten"] as string[]),
      others: new Set(head["others"] as string[]),
    };
  } catch {
    return undefined; // a cache that cannot be read is no cache; the log is read instead
  }
}
