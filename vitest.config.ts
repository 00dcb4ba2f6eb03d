import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";
import { BaseSequencer } from "vitest/node";
import type { TestSpecification } from "vitest/node";

const source = (path: string) => fileURLToPath(new URL(`src/${path}`, import.meta.url));
const report = process.env["MICROSYNC_TEST_REPORT"];

/** What takes a minute and more, the longest first: begun last it would keep one core busy and leave the others idle. */
const LONG = [
  "journal/crash",
  "simulation/simulation",
  "stores/git",
  "examples/full",
  "journal/power.chain",
  "session/heap",
  "journal/power",
  "stores/s3.swift",
  "session/kill",
  "stores/http.chain",
  "stores/github",
].map((name) => fileURLToPath(new URL(`test/${name}.test.ts`, import.meta.url)));

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    const rank = ({ moduleId }: TestSpecification) => (LONG.includes(moduleId) ? LONG.indexOf(moduleId) : LONG.length);
    return sorted.sort((a, b) => rank(a) - rank(b));
  }
}

// vitest asks for a default export.
// oxlint-disable-next-line import/no-default-export
export default defineConfig({
  resolve: {
    // Tests name the package as its users do, and run the sources.
    alias: [
      { find: /^microsync$/, replacement: source("index.ts") },
      { find: /^microsync\/lmdb$/, replacement: source("stores/lmdb.ts") },
      { find: /^microsync\/file$/, replacement: source("stores/file.ts") },
      { find: /^microsync\/git$/, replacement: source("stores/git/index.ts") },
      { find: /^microsync\/sql$/, replacement: source("stores/sql.ts") },
      { find: /^microsync\/s3$/, replacement: source("stores/s3.ts") },
      { find: /^microsync\/github$/, replacement: source("stores/github/index.ts") },
      { find: /^microsync\/etcd$/, replacement: source("stores/etcd.ts") },
      { find: /^microsync\/session$/, replacement: source("session/index.ts") },
      { find: /^microsync\/http$/, replacement: source("stores/http.ts") },
      { find: /^microsync\/node$/, replacement: source("node/index.ts") },
      { find: /^microsync\/testing$/, replacement: source("testing/index.ts") },
    ],
  },
  test: {
    include: ["test/**/*.test.ts"],
    globalSetup: ["scripts/assert-node.js"],
    // As the store of git does: what tests start of git, and its servers, else spends most of its time on giving memory back.
    env: { MALLOC_TOP_PAD_: String(8 * 2 ** 20) },
    sequence: { sequencer: LongestFirst },
    testTimeout: 30_000,
    hookTimeout: 30_000,
    // Most tests wait for servers, processes and disks; by its own choice vitest takes one worker on two cores.
    maxWorkers: Math.max(3, availableParallelism()),
    reporters: report === undefined ? ["default"] : ["default", ["json", { outputFile: report }]],
  },
});
