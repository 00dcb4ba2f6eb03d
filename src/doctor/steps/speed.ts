import { advice } from "../finding.ts";
import { medianOf, msText, rounded, timed } from "../measure.ts";
import { entryOf, put, read } from "../visit.ts";
import type { Step } from "../visit.ts";

const READS = 20;
const WRITES = 5;
/** Where writes stay for good: what `values` wrote is read. */
const READS_FEW = 5;
/** Above this nobody waits gladly. */
const SLOW_MS = 1_000;

/** How long one small read and one small write take, each asked of the system itself. */
export const speed: Step = {
  id: "speed",
  writes: false,
  async run(visit) {
    const { runtime, readonly, prefix, patient } = visit;
    const writes: number[] = [];
    for (let i = 0; i < (readonly || patient.keepsHistory ? 0 : WRITES); i++) {
      const entry = await entryOf(visit, "speed", "x".repeat(100));
      writes.push((await timed(runtime, () => put(visit, [entry])))[1]);
    }
    const key = prefix + (patient.keepsHistory ? "values/text" : "speed");
    const reads: number[] = [];
    for (let i = 0; i < (patient.keepsHistory ? READS_FEW : READS); i++) {
      reads.push((await timed(runtime, () => read(visit, [key])))[1]);
    }
    const figures = {
      reads: reads.length,
      readMedianMs: rounded(medianOf(reads)),
      readWorstMs: rounded(Math.max(...reads)),
      ...(writes.length === 0
        ? {}
        : {
            writes: writes.length,
            writeMedianMs: rounded(medianOf(writes)),
            writeWorstMs: rounded(Math.max(...writes)),
          }),
    };
    const told = [`read ${spread(reads)}`, ...(writes.length === 0 ? [] : [`write ${spread(writes)}`])];
    const slow = medianOf(reads) > SLOW_MS;
    const cure = "put a cache before it, as in memory: or lmdb:";
    return { what: told.join(", "), figures, notes: slow ? [advice("a read takes more than a second", cure)] : [] };
  },
};

function spread(times: readonly number[]): string {
  const median = msText(medianOf(times));
  return times.length === 1 ? median : `${median} (worst ${msText(Math.max(...times))} of ${times.length})`;
}
