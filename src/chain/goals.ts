import type { SyncError } from "../error.ts";
import type { Item, Settled, Waiter } from "../journal/queues.ts";
import type { Runtime } from "../runtime.ts";
import type { LaneShell } from "./lane.ts";

/** What somebody waits for: these items, in these layers. */
export interface Goals {
  /** Resolves when each item is settled in each layer. @throws Stuck when none of the layers that are left gets on. */
  readonly met: Promise<void>;
  /** What became of the items, by layer. */
  readonly outcomes: ReadonlyMap<Item, readonly (Settled & { readonly lane: number })[]>;
  /** An attempt ended somewhere. */
  look(): void;
  /** Nobody waits any longer: what is not met yet is stuck. */
  giveUp(): void;
}

/** None of the layers that somebody waits for takes anything. */
export class Stuck extends Error {
  readonly lanes: readonly { readonly name: string; readonly left: number; readonly error: SyncError | undefined }[];

  constructor(lanes: Stuck["lanes"]) {
    super("stuck");
    this.lanes = lanes;
  }
}

interface Goal {
  readonly shell: LaneShell;
  readonly attempts: number;
  left: number;
}

/** Waiting for layers, without waiting for one that fails: a goal is given up when every layer left is in trouble. */
export function goals(
  shells: readonly LaneShell[],
  wanted: Iterable<Item>,
  mask: number,
  deciding: () => { readonly attempts: number; readonly trouble: SyncError | undefined } | undefined,
): Goals {
  const byLane = new Map<number, Goal>();
  const outcomes = new Map<Item, (Settled & { readonly lane: number })[]>();
  const decidingBefore = deciding()?.attempts ?? 0;
  let firsts = 0;
  let left = 0;
  let settle: { readonly resolve: () => void; readonly reject: (error: Stuck) => void } | undefined;
  let isOver = false;

  for (const shell of shells) byLane.set(shell.lane.bit, { shell, attempts: shell.attempts, left: 0 });
  for (const item of wanted) {
    firsts |= item.first;
    for (const [bit, goal] of byLane) {
      if ((item.waits & bit & mask) === 0) continue;
      goal.left++;
      left++;
      const waiter: Waiter = {
        lane: bit,
        settled: (outcome) => {
          const before = outcomes.get(item);
          if (before === undefined) outcomes.set(item, [{ ...outcome, lane: bit }]);
          else before.push({ ...outcome, lane: bit });
          goal.left--;
          left--;
          look();
        },
      };
      (item.waiters ??= []).push(waiter);
    }
  }

  const troubleOf = ({ shell, attempts }: Goal): SyncError | undefined => {
    if (shell.trouble !== undefined && shell.attempts > attempts) return shell.trouble;
    const decider = deciding();
    const isDecider = (shell.lane.bit & firsts) !== 0;
    return isDecider && decider !== undefined && decider.attempts > decidingBefore ? decider.trouble : undefined;
  };

  const look = (): void => {
    if (isOver || settle === undefined) return;
    if (left === 0) {
      isOver = true;
      settle.resolve();
      return;
    }
    const open = [...byLane.values()].filter((goal) => goal.left > 0);
    const troubled = open.filter((goal) => troubleOf(goal) !== undefined);
    if (troubled.length === 0) return;
    const firstIsStuck = troubled.some(({ shell }) => (shell.lane.bit & firsts) !== 0);
    const isStuck = (goal: Goal) => troubleOf(goal) !== undefined || (firstIsStuck && goal.shell.lane.shared);
    if (!open.every(isStuck)) return;
    giveUp();
  };

  const giveUp = (): void => {
    if (isOver || settle === undefined) return;
    isOver = true;
    const open = [...byLane.values()].filter((goal) => goal.left > 0);
    const lanes = open.map((goal) => ({ name: goal.shell.lane.name, left: goal.left, error: troubleOf(goal) }));
    settle.reject(new Stuck(lanes));
  };

  const met = new Promise<void>((resolve, reject) => {
    settle = { resolve, reject };
  });
  met.catch(() => undefined);
  look();
  return { met, outcomes, look, giveUp };
}

/** What the goals are stuck on, at the latest when the deadline passes; undefined when they were met. */
export async function metBy(goal: Goals, deadline: number, runtime: Runtime): Promise<Stuck | undefined> {
  const leftMs = Math.max(0, deadline - runtime.monotonic());
  const timer = leftMs === Infinity ? undefined : runtime.timer(leftMs, () => goal.giveUp());
  try {
    await goal.met;
    return undefined;
  } catch (error) {
    if (error instanceof Stuck) return error;
    throw error;
  } finally {
    timer?.cancel();
  }
}
