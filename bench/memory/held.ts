import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/** What a process holds after garbage was collected, in bytes. */
export interface Held {
  readonly rss: number;
  readonly heap: number;
  /** Array buffers and what native code reports. */
  readonly external: number;
}

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

export function heldNow(): Held {
  collectGarbage();
  collectGarbage();
  const { rss, heapUsed, external } = process.memoryUsage();
  return { rss, heap: heapUsed, external };
}
