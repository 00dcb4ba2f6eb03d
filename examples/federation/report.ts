import { formatMs } from "../start/durations.ts";
import { commitLines } from "../start/report.ts";
import { box, count } from "../start/table.ts";
import type { Paint } from "../start/table.ts";
import type { OutageReport } from "./outage.ts";
import type { TourReport } from "./tour.ts";

/** The report as a person reads it. */
export function reportLines(report: TourReport, paint: Paint): string[] {
  const { nodes, cold, crowd, write, person, agreement, checks } = report;
  const { keys, acknowledged, wrongAtNodes, wrongInGit } = agreement;
  const good = paint.good("●");
  const arrived = Object.entries(person.arrivedMs).map(([node, ms]) =>
    ms === null ? `not at all at ${node}` : `${formatMs(ms)} later at ${node}`,
  );
  const failed = checks.filter(({ isSo }) => !isSo);
  return [
    "",
    `${paint.strong("Sync")}  ${crowd.nodes.join(", ")} → region → global → git`,
    `Each a process. From git upwards, ready after ${nodes.map(({ readyMs }) => formatMs(readyMs)).join(", ")}.`,
    "",
    `${good} A cold read at ${cold.node} took ${formatMs(cold.ms)} and filled ${cold.filled.join(", ")}:`,
    ...cold.cacheStatus.split(", ").map((member) => `  ${paint.dim(member)}`),
    `  The second took ${formatMs(cold.againMs)}: ${cold.againCacheStatus}`,
    `${good} ${crowd.readsAtEach} reads at once of a cold key at each of ${crowd.nodes.join(" and ")}:`,
    `  ${count(crowd.answered)} answers, ${crowd.regionReads} reads at region, ${crowd.globalReads} at global, ${crowd.gitReads} of git`,
    `${good} A write at ${write.node} was on its disk after ${formatMs(write.ackMs)}, and in git`,
    `  after ${formatMs(write.arrivedMs)}, as commit ${paint.strong(write.commit.id)}:`,
    ...commitLines(write.commit, paint),
    `${good} A person's commit ${paint.strong(person.commit.id)} was in memory`,
    `  ${arrived.join(", ")}, after its push:`,
    ...commitLines(person.commit, paint),
    `${good} Nodes were taken away, written to meanwhile, and brought back:`,
    "",
    ...outageTable(report.outages, paint),
    "",
    `${good} ${count(keys)} keys after ${count(acknowledged)} acknowledged writes, compared at the end:`,
    `  ${agreement.nodes.join(", ")}: ${wrongLine(wrongAtNodes)}`,
    `  git: ${wrongLine(wrongInGit)}`,
    "",
    ...failed.map(({ what }) => `${paint.strong("NOT SO:")} ${what}`),
    ...(failed.length > 0 ? [""] : []),
    paint.dim(`${count(checks.length)} checks, ${formatMs(report.ms)} in all.`),
    "",
  ];
}

function wrongLine(wrong: readonly string[]): string {
  return wrong.length === 0 ? "all as they should be" : `${count(wrong.length)} missing or wrong`;
}

function outageTable(outages: readonly OutageReport[], paint: Paint): string[] {
  const columns = [
    { title: "without", align: "left" },
    { title: "writes", align: "right" },
    { title: "on disk", align: "right" },
    { title: "reads", align: "right" },
    { title: "kept", align: "right" },
    { title: "agreed after", align: "right" },
  ] as const;
  const rows = outages.map(({ without, writes, ackMs, readMs, waiting, agreedMs }) => {
    return [without, count(writes), formatMs(ackMs), formatMs(readMs), count(waiting), formatMs(agreedMs)];
  });
  return box(columns, rows, paint);
}
