// Adds up vitest's JSON reports and prints the sum: `node scripts/sum-tests.js REPORT...`. Fails unless every report is
// of a run that had tests and passed them all.
import { readFileSync } from "node:fs";

let passed = 0;
let failed = 0;
let good = process.argv.length > 2;
for (const path of process.argv.slice(2)) {
  /** @type {{ success: boolean, numPassedTests: number, numFailedTests: number, numFailedTestSuites: number }} */
  const report = JSON.parse(readFileSync(path, "utf8"));
  passed += report.numPassedTests;
  failed += report.numFailedTests;
  if (!report.success || report.numPassedTests === 0) good = false;
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = good && failed === 0 ? 0 : 1;
