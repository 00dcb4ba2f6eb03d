import { SKEW_MAX_MS } from "../../version.ts";
import { differenceOf } from "../clock.ts";
import type { Sample } from "../clock.ts";
import { advice, failure } from "../finding.ts";
import type { Note } from "../finding.ts";
import { msText, rounded } from "../measure.ts";
import type { Step } from "../visit.ts";

/** Each narrows the answer of a coarse clock; asking costs a round trip. */
const SAMPLES = 4;
/** Above this a difference is worth a word. */
const DRIFT_MS = 1_000;

/** By how much the system's clock differs from this machine's. */
export const clock: Step = {
  id: "clock",
  writes: false,
  async run({ runtime, patient, supports, call }) {
    const { clock: system } = patient;
    if (system === undefined) {
      if (!supports.shared) return { what: "this machine's own" };
      const what = "the system tells no time; keep the machines' clocks right by NTP";
      return { what, skipped: true };
    }
    const samples: Sample[] = [];
    for (let i = 0; i < SAMPLES; i++) {
      const askedAt = runtime.now();
      const told = await system.ask(call);
      if (told !== undefined) samples.push({ askedAt, told, toldAt: runtime.now() });
    }
    const difference = differenceOf(samples, system.resolutionMs);
    if (difference === undefined) return { what: "the system told no time", skipped: true };
    const { aheadMs, uncertainMs } = difference;
    const where = `${msText(Math.abs(aheadMs))} ${aheadMs < 0 ? "behind" : "ahead of"} this machine's`;
    return {
      what: `${where}, give or take ${msText(uncertainMs)}`,
      notes: notesOf(Math.abs(aheadMs) - uncertainMs, where),
      figures: { aheadMs: rounded(aheadMs), uncertainMs: rounded(uncertainMs) },
    };
  },
};

/** @param atLeastMs how large the difference is for sure. */
function notesOf(atLeastMs: number, where: string): Note[] {
  const cure = "set both clocks by NTP";
  if (atLeastMs > SKEW_MAX_MS) {
    return [failure(`the system's clock is ${where}: one of the two is wrong, and writes it stamps are refused`, cure)];
  }
  return atLeastMs > DRIFT_MS ? [advice(`the clocks differ: the system's is ${where}`, cure)] : [];
}
