// Sync at work on real data: every feature of the web platform as one key in a git repository, read through memory and
// disk, written as a commit, edited by a person. `npm start`, or `npm start -- --help`.
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { runDemo } from "./demo.ts";
import { steps } from "./progress.ts";
import { reportLines } from "./report.ts";
import { paintFor } from "./table.ts";

const HELP = `npm start -- [--dir DIR] [--keys N] [--json]

  --dir DIR   where the repository and the disk layer are kept (default ./.sync/demo)
  --keys N    only the first N of the 20,968 keys
  --json      the report as JSON on standard output
`;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      dir: { type: "string", default: ".sync/demo" },
      keys: { type: "string" },
      json: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(HELP);
    return;
  }
  const keysMax = values.keys === undefined ? Infinity : Number(values.keys);
  if (!(keysMax === Infinity || Number.isSafeInteger(keysMax)) || keysMax < 1) {
    throw new TypeError("--keys takes a whole number from 1");
  }
  const bars = steps(process.stderr);
  const report = await runDemo({ folder: resolve(values.dir), keysMax, onProgress: bars.show }).finally(bars.end);
  const lines = values.json
    ? [JSON.stringify(report, null, 2)]
    : reportLines(report, paintFor(process.stdout, process.env));
  process.stdout.write(`${lines.join("\n")}\n`);
  if (!report.person.agrees) throw new Error("the person's commit did not arrive in memory");
}

try {
  await main();
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = error instanceof TypeError ? 2 : 1;
}
