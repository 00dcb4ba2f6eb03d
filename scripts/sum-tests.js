// Adds up vitest's JSON reports and prints the sum, after each test and file that failed with the beginning of its error:
// `node scripts/sum-tests.js REPORT...`. Fails unless every report is of a run that had tests and passed them all.
import { existsSync, readFileSync } from "node:fs";
import { relative } from "node:path";

/** @typedef {{ fullName: string, status: string, failureMessages: readonly string[] }} Test */
/** @typedef {{ name: string, status: string, message: string, assertionResults: readonly Test[] }} File */

/** @param {File} file */
const failuresOf = (file) => {
  const tests = file.assertionResults.filter((test) => test.status === "failed");
  if (tests.length === 0 && file.status === "failed") return [{ what: "the file", error: file.message }];
  return tests.map((test) => ({ what: test.fullName, error: test.failureMessages.join("\n") }));
};

let passed = 0;
let failed = 0;
let good = process.argv.length > 2;
for (const path of process.argv.slice(2)) {
  if (!existsSync(path)) {
    console.log(`no report of a run: ${path}`);
    good = false;
    continue;
  }
  /** @type {{ success: boolean, numPassedTests: number, numFailedTests: number, testResults: readonly File[] }} */
  const report = JSON.parse(readFileSync(path, "utf8"));
  for (const file of report.testResults) {
    for (const { what, error } of failuresOf(file)) {
      console.log(`failed: ${relative(process.cwd(), file.name)}: ${what}`);
      for (const line of error.slice(0, 1_000).split("\n").slice(0, 8)) console.log(`    ${line}`);
    }
  }
  passed += report.numPassedTests;
  failed += report.numFailedTests;
  if (!report.success || report.numPassedTests === 0) good = false;
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = good && failed === 0 ? 0 : 1;
