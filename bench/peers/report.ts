/** What the rounds came to: medians with their spread, as a table. */
import { box, paintFor } from "../../examples/start/table.ts";
import type { Column } from "../../examples/start/table.ts";
import type { Answers, Scenario, Verdict } from "./answers.ts";
import type { Candidate } from "./candidate.ts";
import type { Figures, Measure } from "./measures.ts";
import { quantile } from "./quantile.ts";

/** A candidate's figures of all rounds on one Node. */
export interface Entrant {
  readonly candidate: Candidate;
  readonly version: string;
  readonly rounds: readonly Figures[];
  readonly answers: Answers;
}

export interface Spread {
  readonly median: number;
  /** The quarter and three quarters. */
  readonly from: number;
  readonly to: number;
}

export function spreadOf(numbers: readonly number[]): Spread {
  return { median: quantile(numbers, 0.5), from: quantile(numbers, 0.25), to: quantile(numbers, 0.75) };
}

export const TITLES: Readonly<Record<Measure, string>> = {
  hit: "memory hit, get",
  peek: "memory hit, peek",
  set: "set",
  miss: "miss to the second layer",
  batch: "batch of 100, half missing",
  crowd: "cold key, 1,000 readers",
  getOrSet: "getOrSet of a new key",
};

export const SCENARIO_TITLES: Readonly<Record<Scenario, string>> = {
  stale: "stale after a race",
  returned: "deleted, back after a race",
  undeleted: "deleted while down",
  lost: "written while down",
  missed: "error told as a miss",
  altered: "changed with its object",
};

/** Microseconds with as many digits as mean something. */
export function microseconds(us: number): string {
  if (us >= 1_000) return Math.round(us).toLocaleString("en-US");
  return us.toFixed(us >= 100 ? 0 : us >= 10 ? 1 : us >= 1 ? 2 : 3);
}

const percent = (share: number) => `${(share * 100).toFixed(0)} %`;

const MEASURE_COLUMNS: readonly Column[] = [
  { title: "", align: "left" },
  { title: "µs", align: "right" },
  { title: "spread", align: "right" },
  { title: "limit µs", align: "right" },
  { title: "of limit", align: "right" },
  { title: "times sync", align: "right" },
  { title: "", align: "left" },
];

/** One table for each measure, the fastest first. */
export function measureTable(measure: Measure, entrants: readonly Entrant[]): string[] {
  const sync = entrants.find(({ candidate }) => candidate.name === "sync");
  const rows = entrants
    .filter(({ candidate }) => candidate.unmeasured !== true)
    .map((entrant) => ({ entrant, us: spreadOf(of(entrant, measure, ({ us }) => us)) }))
    .toSorted((a, b) => (Number.isNaN(a.us.median) ? 1 : Number.isNaN(b.us.median) ? -1 : a.us.median - b.us.median))
    .map(({ entrant, us }) => {
      if (Number.isNaN(us.median)) return [entrant.candidate.name, "-", "", "", "", "", ""];
      const limit = spreadOf(of(entrant, measure, ({ limitUs }) => limitUs));
      const share = spreadOf(of(entrant, measure, (figure) => figure.share));
      return [
        entrant.candidate.name,
        microseconds(us.median),
        `${microseconds(us.from)} … ${microseconds(us.to)}`,
        microseconds(limit.median),
        percent(share.median),
        timesOf(entrant, sync, measure),
        noteOf(entrant, measure),
      ];
    });
  return [TITLES[measure], ...box(MEASURE_COLUMNS, rows, paintFor(process.stdout, process.env))];
}

/** The candidate's time over that of Sync in the same round: the median of the rounds. */
export function timesOf(entrant: Entrant, sync: Entrant | undefined, measure: Measure): string {
  const ratios = entrant.rounds.flatMap((round, i) => {
    const mine = round[measure]?.us;
    const its = sync?.rounds[i]?.[measure]?.us;
    return mine === undefined || its === undefined ? [] : [mine / its];
  });
  return ratios.length === 0 ? "" : quantile(ratios, 0.5).toFixed(2);
}

function of({ rounds }: Entrant, measure: Measure, pick: (figure: NonNullable<Figures[Measure]>) => number): number[] {
  return rounds.flatMap((round) => round[measure] ?? []).map(pick);
}

function noteOf(entrant: Entrant, measure: Measure): string {
  if (measure === "set") return `has: ${entrant.candidate.ack}`;
  if (measure === "crowd")
    return `${quantile(
      of(entrant, measure, ({ reads = NaN }) => reads),
      0.5,
    )} reads below`;
  const { layers } = entrant.candidate;
  if (measure === "batch" && layers === "either") return "all from the second layer";
  return "";
}

export function answersTable(entrants: readonly Entrant[]): string[] {
  const scenarios = Object.keys(SCENARIO_TITLES) as Scenario[];
  const columns: Column[] = [
    { title: "", align: "left" },
    ...scenarios.map((scenario) => ({ title: SCENARIO_TITLES[scenario], align: "left" as const })),
  ];
  const marked = (verdict: Verdict) => (verdict === "wrong" ? "WRONG" : verdict);
  const rows = entrants.map(({ candidate, answers }) => [
    candidate.name,
    ...scenarios.map((scenario) => marked(answers[scenario])),
  ]);
  return [
    'Wrong answers. "says so": the call failed, so its caller knows.',
    ...box(columns, rows, paintFor(process.stdout, process.env)),
  ];
}
