import { SKEW_MAX_MS } from "../version.ts";
import { advice, failure } from "./finding.ts";
import type { Note, StepId, StoreReport } from "./finding.ts";
import { msText } from "./measure.ts";

/** A layer that is slower than the one behind it by this factor and by so many milliseconds gains nothing. */
const SLOWER_FACTOR = 1.5;
const SLOWER_MS = 1;
const DRIFT_MS = 1_000;

/**
 * What can be said of stores in this order, the nearest first, from what was found out about each. Those that could not
 * be opened are left out: their own findings say enough.
 */
export function chainAdvice(reports: readonly StoreReport[]): Note[] {
  if (reports.length < 2) return [];
  return [...lastOf(reports), ...decidingOf(reports), ...orderOf(reports), ...clocksOf(reports)];
}

/** The last one is the source of truth. */
function lastOf(reports: readonly StoreReport[]): Note[] {
  const last = reports.at(-1);
  if (last === undefined || last.supports === null || last.supports.durable) return [];
  const what = `${last.store} is the last, and so the source of truth, but forgets at a power loss`;
  return [advice(what, "put a durable store last")];
}

/** Of the layers with the role store, one has to decide conditions. */
function decidingOf(reports: readonly StoreReport[]): Note[] {
  const stores = reports.filter(({ role }) => role === "store");
  // Of one that was only looked at it is not known what it does when it is opened for writing.
  if (stores.some(({ supports, readonly }) => supports === null || readonly || supports.conditional)) return [];
  const able = reports.find(({ supports }) => supports?.conditional === true && supports.durable);
  const cure = able === undefined ? "add a store that has them" : `give ${able.store} the role store: ?role=store`;
  return [advice("no store of this chain decides conditional writes, so they are refused", cure)];
}

function orderOf(reports: readonly StoreReport[]): Note[] {
  const timed = reports.flatMap(({ store, findings }) => {
    const ms = figureOf(findings, "speed", "readMedianMs");
    return ms === undefined ? [] : [{ store, ms }];
  });
  return timed.slice(1).flatMap((below, i) => {
    const above = timed[i];
    if (above === undefined || above.ms <= below.ms * SLOWER_FACTOR || above.ms - below.ms < SLOWER_MS) return [];
    const what = `${above.store} (${msText(above.ms)} a read) stands before ${below.store} (${msText(below.ms)})`;
    return [advice(what, "put the faster one nearer, or leave the slower one out")];
  });
}

/** Their clocks, compared with each other: what one dates or lets expire by its own, the other takes for older or younger. */
function clocksOf(reports: readonly StoreReport[]): Note[] {
  const clocks = reports.flatMap(({ store, findings }) => {
    const aheadMs = figureOf(findings, "clock", "aheadMs");
    const uncertainMs = figureOf(findings, "clock", "uncertainMs") ?? 0;
    return aheadMs === undefined ? [] : [{ store, aheadMs, uncertainMs }];
  });
  return clocks.slice(1).flatMap((one, i) => {
    const other = clocks[i];
    if (other === undefined) return [];
    const apartMs = Math.abs(one.aheadMs - other.aheadMs) - one.uncertainMs - other.uncertainMs;
    if (apartMs <= DRIFT_MS) return [];
    const what = `the clocks of ${other.store} and ${one.store} differ by ${msText(apartMs)} or more`;
    const cure = "set them by NTP";
    return [apartMs > SKEW_MAX_MS ? failure(what, cure) : advice(what, cure)];
  });
}

function figureOf(findings: StoreReport["findings"], step: StepId, name: string): number | undefined {
  const value = findings.find((finding) => finding.step === step)?.figures[name];
  return typeof value === "number" ? value : undefined;
}
