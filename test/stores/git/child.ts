/**
 * What the crash tests run in a process of its own: `node child.js URL CACHE ROUND`. Writes batches for ever, and says
 * on stdout, at once, what was acknowledged.
 */
import { writeSync } from "node:fs";
import { NO_META } from "../../../src/entry.ts";
import { git } from "../../../src/stores/git/index.ts";
import { systemRuntime } from "../../../src/system.ts";
import { formatVersion } from "../../../src/version.ts";

const [, , url = "", cacheFolder = "", round = "0"] = process.argv;
const store = await git(url, { runtime: systemRuntime, cacheFolder });
for (let i = 0; ; i++) {
  const version = formatVersion(1.7e12 + Number(round) * 1e6 + i, 0, "0".repeat(16));
  // One key of its own, one that every batch shares, and every few batches enough for a pack of their own.
  const names = [
    `own/${round}/${i}`,
    "shared",
    ...Array.from({ length: i % 5 === 4 ? 120 : 0 }, (_, n) => `many/${n}`),
  ];
  const value = new TextEncoder().encode(`${round}/${i}`);
  const entries = names.map((key) => ({ key, state: "value" as const, value, version, expires: null, meta: NO_META }));
  const results = await store.write(entries.map((entry) => ({ entry, asOf: 0 })));
  if (results.some(({ status }) => status !== "stored")) throw new Error(JSON.stringify(results));
  writeSync(1, `${round}/${i}\n`);
}
