import { coarseClock } from "./runtime.ts";
import type { Runtime } from "./runtime.ts";

const now = () => Date.now();

function timer(delayMs: number, fn: () => void, background = false) {
  const handle: unknown = setTimeout(fn, delayMs);
  // Node's timers are objects that can be told not to hold the process; elsewhere they are numbers.
  if (background && typeof handle === "object" && handle !== null && "unref" in handle) {
    (handle as { unref(): void }).unref();
  }
  return { cancel: () => clearTimeout(handle as ReturnType<typeof setTimeout>) };
}

interface NodePerformance {
  eventLoopUtilization(): { readonly idle: number };
}

/** The platform's clock, timers and random source. The only file that may touch them. */
export const systemRuntime: Runtime = {
  now,
  coarseNow: coarseClock(now, timer),
  monotonic: () => performance.now(),
  // Node's own, and absent elsewhere.
  idle: () => (performance as Partial<NodePerformance>).eventLoopUtilization?.().idle ?? Number.NaN,
  timer,
  random: (bytes) => globalThis.crypto.getRandomValues(bytes as Uint8Array<ArrayBuffer>),
};
