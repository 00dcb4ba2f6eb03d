import { readOption } from "../config/values.ts";
import { EXIT, EXIT_OK } from "./exit.ts";
import { jsonLine } from "./lines.ts";
import type { Session } from "./session.ts";

export interface WatchFlags {
  readonly initial?: boolean;
  readonly limit?: string;
}

/** Changes until interrupted, or so many. */
export async function run({ io, json, open }: Session, [prefix = ""]: readonly string[], flags: WatchFlags) {
  let left = flags.limit === undefined ? Infinity : Number(readOption("--limit", [flags.limit], "count"));
  if (left === 0) return EXIT_OK;
  const { db } = await open();
  const changes = db.watch({
    prefix,
    initial: flags.initial,
    signal: io.signal,
    onGap: (reason) => {
      void io.stderr.write(`microsync: changes were missed, everything is told again: ${reason}\n`);
    },
  });
  for await (const { type, key, version } of changes) {
    await io.stdout.write(json ? jsonLine({ type, key, version }) : `${type} ${key}\n`);
    if (--left === 0) return EXIT_OK;
  }
  return io.signal.aborted ? EXIT.ABORTED : EXIT_OK;
}
