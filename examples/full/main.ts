// The whole chain on real servers: etcd, PostgreSQL, Ceph's object gateway and a git server, started for this and stopped
// after it. `npm run start:full`, or `npm run start:full -- --help`.
import { rmSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { NEEDS, installCommand, installed, mayNotInstall, missing } from "../../test/servers/apt.ts";
import { Ended, USAGE, interruption, openFolder } from "../start/ended.ts";
import { steps } from "../start/progress.ts";
import { paintFor } from "../start/table.ts";
import { reportLines } from "./report.ts";
import { Running, startServers } from "./servers.ts";
import { runTour } from "./tour.ts";

const HELP = `npm run start:full -- [--dir DIR] [--keys N] [--github] [--json]

  --dir DIR   an empty or new folder that the repository, the journals and a
              person's clone are left in (default: a temporary one, removed)
  --keys N    only the first N of the 20,968 keys
  --github    a stand-in for GitHub's API in place of git over HTTP
  --json      the report as JSON on standard output

Servers that are missing are installed by apt-get where this may be done.
Exit status: 0, or 1 when something failed or a value was not as it should be,
2 for wrong options, 69 when a server is missing, 129, 130 or 143 when it was
interrupted.
`;

/** EX_UNAVAILABLE of sysexits.h. */
const UNAVAILABLE = 69;
/** GitHub's stand-in answers a read of one key by a request. */
const GITHUB_SINGLES_MAX = 200;

function options() {
  try {
    const { values } = parseArgs({
      options: {
        dir: { type: "string" },
        keys: { type: "string" },
        github: { type: "boolean", default: false },
        json: { type: "boolean", default: false },
        help: { type: "boolean", default: false },
      },
    });
    const keysMax = values.keys === undefined ? Infinity : Number(values.keys);
    if (!(keysMax === Infinity || Number.isSafeInteger(keysMax)) || keysMax < 2) {
      throw new TypeError("--keys takes a whole number from 2");
    }
    return { ...values, keysMax };
  } catch (error) {
    throw new Ended(error instanceof Error ? error.message : String(error), USAGE);
  }
}

/** Before anything else is done: every program is there, or is installed, or it is said what to install. */
async function haveServers(): Promise<void> {
  const { git, etcd, postgres, radosgw } = NEEDS;
  const needs = [git, etcd, postgres, radosgw].filter((need) => missing(need).length > 0);
  if (needs.length === 0) return;
  const programs = needs.flatMap(missing).join(", ");
  const reason = mayNotInstall();
  if (reason !== undefined) {
    const all = `missing: ${programs}\n${reason}. On Debian, as root:\n  ${installCommand(needs)}`;
    throw new Ended(`${all}\nthen start this again. Nothing was done.`, UNAVAILABLE);
  }
  process.stderr.write(`installing what brings ${programs}\n`);
  for (const need of needs) {
    await installed(need).catch((error: unknown) => {
      const cause = error instanceof Error ? error.message : String(error);
      throw new Ended(`${installCommand([need])} failed: ${cause}`, UNAVAILABLE);
    });
  }
}

async function main(): Promise<void> {
  const given = options();
  if (given.help) {
    process.stdout.write(HELP);
    return;
  }
  const { signal, aborted } = interruption("stopping the servers");
  await Promise.race([haveServers(), aborted]);
  const { keysMax, github } = given;
  const folder = openFolder(given.dir, "microsync-full-");
  const running = new Running();
  const bars = steps(process.stderr);
  try {
    bars.show("starting the servers", 0, 1);
    const tour = async () => {
      const servers = await startServers(running, join(folder, "served"), github);
      signal.throwIfAborted();
      const onProgress = bars.show;
      const singlesMax = github ? GITHUB_SINGLES_MAX : undefined;
      return runTour({ folder, servers, keysMax, onProgress, signal, ...(singlesMax && { singlesMax }) });
    };
    const report = await Promise.race([tour(), aborted]);
    bars.end();
    const lines = given.json
      ? [JSON.stringify(report, null, 2)]
      : reportLines(report, paintFor(process.stdout, process.env));
    process.stdout.write(`${lines.join("\n")}\n`);
    if (!report.agrees) throw new Ended("something was not as it should be: see the report", 1);
  } finally {
    bars.end();
    await running.stop();
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
// A tour that was interrupted may still wait for servers that are gone.
process.stdout.write("", () => process.exit(status));
