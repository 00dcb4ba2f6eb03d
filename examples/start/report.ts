import type { DemoReport } from "./demo.ts";
import { formatMs } from "./durations.ts";
import type { Commit } from "./git.ts";
import type { PersonReport } from "./person.ts";
import type { LayerLine, Walk } from "./walk.ts";
import { box, count, cut } from "./table.ts";
import type { Paint } from "./table.ts";

const COLUMNS = 80;

/** The report as a person reads it. */
export function reportLines(report: DemoReport, paint: Paint): string[] {
  const { fill, write, person, layers } = report;
  const path = layers.map(({ name }) => name).join(" → ");
  const filled = fill.reused
    ? "The repository was filled by an earlier run."
    : `The repository was filled with ${count(fill.commits)} commits in ${formatMs(fill.ms)}.`;
  return [
    "",
    `${paint.strong("Sync")}  ${path}`,
    `${count(report.keys)} keys of ${report.source}, each a file in git.`,
    filled,
    "",
    ...walkTable(report.walks, paint),
    "",
    ...layerTable(layers, paint),
    "",
    `${paint.good("●")} A write of ${formatMs(write.ms)} became commit ${paint.strong(write.commit.id)}:`,
    ...commitLines(write.commit, paint),
    `${paint.good("●")} A person's commit ${paint.strong(person.commit.id)} was in memory ${formatMs(person.arrivedMs)} after its push:`,
    ...commitLines(person.commit, paint),
    `  ${outcome(person)}`,
    "",
    paint.dim(`${formatMs(report.ms)} in all.`),
    "",
  ];
}

export function commitLines({ author, subject, summary }: Commit, paint: Paint): string[] {
  return [`${author}: ${subject}`, summary].map((line) => `  ${paint.dim(cut(line, COLUMNS - 2))}`);
}

export function outcome({ agrees, layer }: PersonReport): string {
  return agrees ? `${layer} answers with what the person wrote.` : "What was read is not what the person wrote.";
}

export function walkTable(walks: readonly Walk[], paint: Paint): string[] {
  const rows = walks.map(({ from, atATime, keys, hits, p50Ms, p99Ms, totalMs }) => {
    const answered = Object.entries(hits).map(([layer, n]) => `${layer} ${count(n)}`);
    const perSecond = count(Math.round((keys / totalMs) * 1_000));
    return [
      `${from}, ${atATime === 1 ? "singly" : "by thousand"}`,
      answered.join(", "),
      formatMs(p50Ms),
      formatMs(p99Ms),
      formatMs(totalMs),
      perSecond,
    ];
  });
  const columns = [
    { title: "read from", align: "left" },
    { title: "answered by", align: "left" },
    { title: "p50", align: "right" },
    { title: "p99", align: "right" },
    { title: "total", align: "right" },
    { title: "keys/s", align: "right" },
  ] as const;
  return box(columns, rows, paint);
}

export function layerTable(layers: readonly LayerLine[], paint: Paint): string[] {
  const rows = layers.map(({ name, hits, misses, fills, writes, calls, callMs }) => {
    const each = formatMs(calls === 0 ? 0 : callMs / calls);
    return [name, count(hits), count(misses), count(fills), count(writes), count(calls), each];
  });
  const columns = [
    { title: "layer", align: "left" },
    { title: "hits", align: "right" },
    { title: "misses", align: "right" },
    { title: "filled", align: "right" },
    { title: "written", align: "right" },
    { title: "calls", align: "right" },
    { title: "a call", align: "right" },
  ] as const;
  return box(columns, rows, paint);
}
