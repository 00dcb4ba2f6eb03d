import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

setFlagsFromString("--expose-gc");
// Code that is compiled anew as it gets hot grows for hours, and has nothing to do with what a program keeps.
for (const compiler of ["opt", "maglev", "sparkplug"]) setFlagsFromString(`--no-${compiler}`);
const collectGarbage = runInNewContext("gc") as () => void;

/** What this process holds after garbage was collected, in bytes: its heap, and array buffers and the like beside it. */
export function held(): number {
  collectGarbage();
  collectGarbage();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
