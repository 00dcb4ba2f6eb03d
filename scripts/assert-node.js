/**
 * Run once before the tests. A run that is meant for one Node says so in MICROSYNC_NODE, so that it cannot pass on
 * another by mistake, as when a package manager put its own Node first in PATH.
 */
export function setup() {
  const wanted = process.env["MICROSYNC_NODE"];
  if (wanted !== undefined && process.version !== wanted) {
    throw new Error(`the tests were to run on Node ${wanted}, and run on ${process.version}`);
  }
  process.stderr.write(`Node ${process.version}\n`);
}
