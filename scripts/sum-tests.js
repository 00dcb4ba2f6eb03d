// Adds up vitest's JSON reports and prints the sum: `node scripts/sum-tests.js REPORT...`. Fails unless every report is
// of a run that had tests and passed them all.
import { existsSync, readFileSync } from "node:fs";

let passed = 0;
let failed = 0;
let good = process.argv.length > 2;
for (const path of process.argv.slice(2)) {
  if (!existsSync(path)) {
    console.log(`no report of a run: ${path}`);
    good = false;
    continue;
  }
  /** @type {{ success: boolean, numPassedTests: number, numFailedTests: number, numFailedTestSuites: number }} */
  const report = JSON.parse(readFileSync(path, "utf8"));
  passed += report.numPassedTests;
  failed += report.numFailedTests;
  if (!report.success || report.numPassedTests === 0) good = false;
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = good && failed === 0 ? 0 : 1;
