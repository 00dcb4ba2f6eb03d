// Three levels: two local nodes, a regional and a global one, each a process of the command, over a git repository.
// `npm run start:federation`, or `npm run start:federation -- --help`.
import { rmSync } from "node:fs";
import { parseArgs } from "node:util";
import { Ended, USAGE, interruption, openFolder } from "../start/ended.ts";
import { git } from "../start/git.ts";
import { steps } from "../start/progress.ts";
import { paintFor } from "../start/table.ts";
import { levelsIn } from "./levels.ts";
import { reportLines } from "./report.ts";
import { runTour } from "./tour.ts";

const HELP = `npm run start:federation -- [--dir DIR] [--json]

  --dir DIR   an empty or new folder that the repository, the nodes' data and
              journals and a person's clone are left in (default: a temporary
              one, removed)
  --json      the report as JSON on standard output

The nodes listen on this machine only, on ports that are free, and are stopped
at the end. Exit status: 0, or 1 when something failed or was not as it should
be, 2 for wrong options, 69 without git, 129, 130 or 143 when it was
interrupted.
`;

/** EX_UNAVAILABLE of sysexits.h. */
const UNAVAILABLE = 69;
const BARE = "truth.git";

function options() {
  try {
    const { values } = parseArgs({
      options: {
        dir: { type: "string" },
        json: { type: "boolean", default: false },
        help: { type: "boolean", default: false },
      },
    });
    return values;
  } catch (error) {
    throw new Ended(error instanceof Error ? error.message : String(error), USAGE);
  }
}

async function main(): Promise<void> {
  const given = options();
  if (given.help) {
    process.stdout.write(HELP);
    return;
  }
  const { signal, aborted } = interruption("stopping the nodes");
  await git(".", "version").catch(() => {
    throw new Ended("git is missing: install it, and start this again. Nothing was done.", UNAVAILABLE);
  });
  const folder = openFolder(given.dir, "microsync-federation-");
  const levels = levelsIn(folder, BARE, signal);
  const bars = steps(process.stderr);
  const touring = runTour({ folder, bare: BARE, levels, onProgress: bars.show });
  try {
    const report = await Promise.race([touring, aborted]);
    bars.end();
    const lines = given.json
      ? [JSON.stringify(report, null, 2)]
      : reportLines(report, paintFor(process.stdout, process.env));
    process.stdout.write(`${lines.join("\n")}\n`);
    if (!report.agrees) throw new Ended("something was not as it should be: see the report", 1);
  } finally {
    bars.end();
    await levels.end();
    // What it was doing when it was interrupted may still write into the folder; without nodes it soon ends.
    await touring.catch(() => undefined);
    if (given.dir === undefined) rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

let status = 0;
try {
  await main();
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  status = error instanceof Ended ? error.status : 1;
}
process.exitCode = status;
