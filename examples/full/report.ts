import { formatMs } from "../start/durations.ts";
import { commitLines, layerTable, outcome, walkTable } from "../start/report.ts";
import { box, count } from "../start/table.ts";
import type { Paint } from "../start/table.ts";
import type { OutageReport } from "./outage.ts";
import type { TourReport } from "./tour.ts";

/** The report as a person reads it. */
export function reportLines(report: TourReport, paint: Paint): string[] {
  const { fill, write, person, layers, mirror, servers, checks } = report;
  const path = layers.map(({ name }) => name).join(" → ");
  const started = servers.map(({ name, version, readyMs }) => `${name} ${version}: ${formatMs(readyMs)}`);
  return [
    "",
    `${paint.strong("Sync")}  ${path}, beside it S3`,
    `${count(report.keys)} keys of ${report.source}, each a file in git.`,
    "",
    "Servers, and how long each took to answer:",
    ...started.map((line) => `  ${line}`),
    "",
    `The repository was filled with ${count(fill.commits)} commits in ${formatMs(fill.ms)}.`,
    `All of it was in the bucket beside it after ${formatMs(mirror.ms)}.`,
    "",
    ...walkTable(report.walks, paint),
    "",
    ...layerTable(layers, paint),
    "",
    `${paint.good("●")} A write was in every layer after ${formatMs(write.ms)}, as commit ${paint.strong(write.commit.id)}:`,
    ...commitLines(write.commit, paint),
    ...(write.everywhere ? [] : ["  Some layer lacks it."]),
    `${paint.good("●")} A person's commit ${paint.strong(person.commit.id)} was in memory ${formatMs(person.arrivedMs)} after its push:`,
    ...commitLines(person.commit, paint),
    `  ${outcome(person)}`,
    ...(person.everywhere ? [] : ["  Some layer lacks it."]),
    `${paint.good("●")} Each server was killed, written to meanwhile, and brought back:`,
    "",
    ...outageTable(report.outages, paint),
    "",
    ...checks.map(({ store, keys, wrong }) => {
      const found = wrong === 0 ? "all as they should be" : `${count(wrong)} missing or wrong`;
      return `${paint.good("●")} ${store}, asked alone: ${count(keys)} keys, ${found}.`;
    }),
    "",
    paint.dim(`${formatMs(report.ms)} in all.`),
    "",
  ];
}

function outageTable(outages: readonly OutageReport[], paint: Paint): string[] {
  const columns = [
    { title: "without", align: "left" },
    { title: "writes", align: "right" },
    { title: "on disk", align: "right" },
    { title: "a read", align: "right" },
    { title: "kept", align: "right" },
    { title: "caught up", align: "right" },
    { title: "lost", align: "right" },
  ] as const;
  const rows = outages.map(({ server, writes, ackMs, readMs, waiting, caughtUpMs, lost }) => {
    const times = [ackMs, readMs].map((ms) => formatMs(ms));
    return [server, count(writes), ...times, count(waiting), formatMs(caughtUpMs), count(lost)];
  });
  return box(columns, rows, paint);
}
