#!/usr/bin/env node
import { readFile } from "node:fs/promises";
import { processIo } from "./process.ts";
import { run } from "./run.ts";

const end = new AbortController();
let told: NodeJS.Signals | undefined;
// The first signal lets the command end cleanly; a second one meets no handler and ends the process at once.
for (const name of ["SIGINT", "SIGTERM"] as const) {
  process.once(name, () => {
    told = name;
    end.abort(name);
  });
}

const manifest = JSON.parse(await readFile(new URL("../../package.json", import.meta.url), "utf8")) as {
  readonly version: string;
};
const status = await run(process.argv.slice(2), processIo(end.signal), manifest.version);
process.exit(told === "SIGTERM" && status === 130 ? 143 : status);
