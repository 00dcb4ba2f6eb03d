import { coarseClock } from "./runtime.ts";
import type { Runtime, Timer } from "./runtime.ts";

const now = () => Date.now();
/** The name of the global is a getter, which costs as much as the reading. */
const { performance } = globalThis;

interface NodeTimer {
  ref(): void;
  unref(): void;
}

/** Node's timers are objects that can be told not to hold the process; elsewhere they are numbers. */
class SystemTimer implements Timer {
  private readonly handle: ReturnType<typeof setTimeout>;

  constructor(delayMs: number, fn: () => void) {
    this.handle = setTimeout(fn, delayMs);
  }

  cancel(): void {
    clearTimeout(this.handle);
  }

  hold(isHeld: boolean): void {
    const handle: unknown = this.handle;
    if (typeof handle !== "object" || handle === null || !("unref" in handle)) return;
    if (isHeld) (handle as NodeTimer).ref();
    else (handle as NodeTimer).unref();
  }
}

function timer(delayMs: number, fn: () => void, background = false): Timer {
  const made = new SystemTimer(delayMs, fn);
  if (background) made.hold(false);
  return made;
}

interface NodePerformance {
  eventLoopUtilization(): { readonly idle: number };
}

/** The platform's clock, timers and random source. The only file that may touch them. */
export const systemRuntime: Runtime = {
  now,
  coarse: coarseClock(now, timer),
  monotonic: () => performance.now(),
  // Node's own, and absent elsewhere.
  idle: () => (performance as Partial<NodePerformance>).eventLoopUtilization?.().idle ?? Number.NaN,
  timer,
  random: (bytes) => globalThis.crypto.getRandomValues(bytes as Uint8Array<ArrayBuffer>),
};
