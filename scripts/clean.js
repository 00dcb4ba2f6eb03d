// Removes the folders named, of this project's own output.
import { rmSync } from "node:fs";
import { resolve, sep } from "node:path";

const root = resolve(import.meta.dirname, "..");
for (const name of process.argv.slice(2)) {
  const folder = resolve(root, name);
  if (!folder.startsWith(root + sep)) throw new Error(`${name} lies outside the project`);
  rmSync(folder, { recursive: true, force: true });
}
