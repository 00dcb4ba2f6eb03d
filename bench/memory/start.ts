/** What one import costs in a fresh process: `start.js URL|none modules|time` prints one line of JSON. */
import { Session } from "node:inspector";
import { heldNow } from "./held.ts";
import type { Held } from "./held.ts";

export interface Started {
  readonly ms: number;
  readonly held: Held;
  /** Files that were loaded; only where they were asked for. */
  readonly own: number;
  readonly packages: number;
}

const [, , url = "", what = ""] = process.argv;
const files = new Set<string>();
if (what === "modules") {
  const session = new Session();
  session.connect();
  session.on("Debugger.scriptParsed", ({ params }: { params: { url: string } }) => {
    if (params.url.startsWith("file:")) files.add(params.url);
  });
  session.post("Debugger.enable");
  files.clear(); // what was there before
}
const began = performance.now();
if (url !== "none") await import(url);
const ms = performance.now() - began;
const packages = [...files].filter((file) => file.includes("/node_modules/")).length;
const result: Started = { ms, held: heldNow(), own: files.size - packages, packages };
process.stdout.write(`${JSON.stringify(result)}\n`);
process.exit(0);
