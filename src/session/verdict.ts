import { isDead } from "../entry.ts";
import type { Head } from "../entry.ts";
import type { Pair } from "./pairs.ts";
import type { SessionOptions } from "./types.ts";

/** How the two sides of a key stand to each other, by their lists alone. */
export type Verdict =
  /** Neither has a value. */
  | "nothing"
  | "same"
  | "only-from"
  | "only-to"
  /** Both have a value, of different versions: the source's is the newer one, or the target's. */
  | "from-newer"
  | "to-newer"
  /** Only the content can tell. */
  | "unsure";

export function verdictOf({ from, to }: Pair, now: number, compare: SessionOptions["compare"] = "auto"): Verdict {
  const source = live(from, now);
  const target = live(to, now);
  if (source === undefined) return target === undefined ? "nothing" : "only-to";
  if (target === undefined) return "only-from";
  if (compare === "content") return "unsure";
  if (source.version === target.version) return "same";
  return source.version > target.version ? "from-newer" : "to-newer";
}

/** Undefined when it gives no value. A stub stands for one. */
export function live(head: Head | undefined, now: number): Head | undefined {
  return head === undefined || isDead(head, now) ? undefined : head;
}
