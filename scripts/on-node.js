// Runs a script on another version of Node: `node scripts/on-node.js VERSION SCRIPT [ARGUMENT...]`.
//
// The other Node comes from npm's `node-<platform>-<arch>` packages, into a folder of its own: as a development
// dependency it would put itself first in PATH, and every other script would run on it too.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";

const [version, ...script] = process.argv.slice(2);
if (version === undefined || !/^\d+\.\d+\.\d+$/.test(version) || script.length === 0) {
  console.error("usage: node scripts/on-node.js MAJOR.MINOR.PATCH SCRIPT [ARGUMENT...]");
  process.exit(2);
}

const node = process.version === `v${version}` ? process.execPath : installed(version);
const { status, signal, error } = spawnSync(node, script, {
  stdio: "inherit",
  env: { ...process.env, MICROSYNC_NODE: `v${version}` },
});
if (error !== undefined) throw error;
if (signal !== null) console.error(`ended by ${signal}`);
process.exit(status ?? 1);

/** @param {string} wanted */
function installed(wanted) {
  const platform = process.platform === "win32" ? "win" : process.platform;
  const name = `node-${platform}-${process.arch}`;
  const folder = resolve(import.meta.dirname, "..", "build", `node-${wanted}`);
  const binary = join(folder, "node_modules", name, "bin", process.platform === "win32" ? "node.exe" : "node");
  if (!existsSync(binary)) {
    const packageName = `${name}@${wanted}`;
    const args = ["install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", folder];
    const install = spawnSync("npm", [...args, packageName], { stdio: "inherit", shell: process.platform === "win32" });
    if (install.status !== 0 || !existsSync(binary)) {
      console.error(`could not install ${packageName}; run the script with a Node ${wanted} of your own instead`);
      process.exit(1);
    }
  }
  return binary;
}
