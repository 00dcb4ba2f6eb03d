import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const source = (path: string) => fileURLToPath(new URL(`src/${path}`, import.meta.url));
const report = process.env["MICROSYNC_TEST_REPORT"];

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
    testTimeout: 30_000,
    hookTimeout: 30_000,
    // Most tests wait for servers, processes and disks; by its own choice vitest takes one worker on two cores.
    maxWorkers: Math.max(3, availableParallelism()),
    reporters: report === undefined ? ["default"] : ["default", ["json", { outputFile: report }]],
  },
});
