/**
 * What each store costs next to its bare client doing the same work in the same run: `npm run bench:stores`, or with
 * `-- --store etcd --store sql --rounds 9 --json`. docs/performance.md has what it printed last.
 */
import { readFileSync } from "node:fs";
import { cpus, loadavg } from "node:os";
import { parseArgs } from "node:util";
import { steps } from "../examples/start/progress.ts";
import { box, paintFor } from "../examples/start/table.ts";
import { etcdSubject } from "./stores/etcd.ts";
import { gitSubject } from "./stores/git.ts";
import { githubSubject } from "./stores/github.ts";
import { AMOUNTS, race } from "./stores/harness.ts";
import type { Amounts, Result, Subject } from "./stores/harness.ts";
import { lmdbSubject } from "./stores/lmdb.ts";
import { s3Subject } from "./stores/s3.ts";
import { sqlSubject } from "./stores/sql.ts";

interface Entrant {
  readonly open: () => Promise<Subject>;
  /** Where a call of one key takes long, there are fewer of them. */
  readonly amounts?: Partial<Amounts>;
}

const ENTRANTS: Readonly<Record<string, Entrant>> = {
  lmdb: { open: lmdbSubject },
  etcd: { open: etcdSubject },
  sql: { open: sqlSubject },
  s3: { open: s3Subject },
  git: { open: gitSubject, amounts: { singles: 10 } },
  github: { open: () => githubSubject(), amounts: { singles: 10, batch: 100 } },
  // GitHub itself takes longer.
  "github, 25 ms away": { open: () => githubSubject(25), amounts: { singles: 10, batch: 100 } },
};

/** How much more time than its bare client a store may take, in per cent. */
const GOAL = 15;

const { values } = parseArgs({
  options: {
    store: { type: "string", multiple: true },
    rounds: { type: "string", default: "9" },
    json: { type: "boolean", default: false },
  },
});
const names = values.store ?? Object.keys(ENTRANTS);
const unknown = names.filter((name) => !Object.hasOwn(ENTRANTS, name));
if (unknown.length > 0) {
  throw new Error(`no store ${unknown.join(", ")}: there are ${Object.keys(ENTRANTS).join(", ")}`);
}
const rounds = Number(values.rounds);
const packages = (JSON.parse(readFileSync("package.json", "utf8")) as { dependencies: Record<string, string> })
  .dependencies;
const machine = () => {
  const load = loadavg().map((n) => n.toFixed(1));
  return `${cpus().length} cores (${cpus()[0]?.model.trim() ?? "?"}), load ${load.join(" ")}, Node ${process.versions.node}`;
};
const before = machine();
const bars = steps(process.stderr);
const results: Result[] = [];
for (const name of names) {
  const entrant = ENTRANTS[name] as Entrant;
  const subject = await entrant.open();
  try {
    const amounts = { ...AMOUNTS, ...entrant.amounts };
    const onRound = (work: string, round: number) => bars.show(`${name}: ${work}`, round, rounds);
    results.push(await race(name, subject, amounts, rounds, onRound));
  } finally {
    await subject.close();
  }
}
bars.end();

const count = (n: number) => Math.round(n).toLocaleString("en-US");
const signed = (n: number) => `${n > 0 ? "+" : ""}${n.toFixed(0)} %`;
const columns = [
  { title: "store", align: "left" },
  { title: "work", align: "left" },
  { title: "keys/s", align: "right" },
  { title: "bare", align: "right" },
  { title: "more time", align: "right" },
  { title: "spread", align: "right" },
  { title: "CPU", align: "right" },
] as const;
const rows = results.flatMap(({ name, figures }) =>
  figures.map(({ work, store, bare, more, from, to, moreCpu }) => {
    const mark = more > GOAL ? " !" : "  ";
    return [
      name,
      work,
      count(store),
      count(bare),
      `${signed(more)}${mark}`,
      `${signed(from)} … ${signed(to)}`,
      signed(moreCpu),
    ];
  }),
);
const withVersions = (text: string) =>
  Object.entries(packages).reduce(
    (said, [name, version]) => said.replace(new RegExp(`(^|, )${name}(?=,|$)`), `$1${name} ${version}`),
    text,
  );
const lines = [
  `before: ${before}`,
  `after:  ${machine()}`,
  `${rounds} rounds; medians. Spread: the middle half of the rounds' ratios. "!": above ${GOAL} %.`,
  ...box(columns, rows, paintFor(process.stdout, process.env)),
  ...results.flatMap(({ name, versions, bareIs, requests: { unit, write, read } }) => [
    `${name} (${withVersions(versions)}): bare is ${bareIs}`,
    ...(write === 0 ? [] : [`  for 1,000 keys ${count(write)} ${unit} to write, ${count(read)} to read`]),
  ]),
];
const report = { before, after: machine(), rounds, results };
process.stdout.write(`${values.json ? JSON.stringify(report, null, 2) : lines.join("\n")}\n`);
