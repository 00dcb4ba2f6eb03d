import { EXIT_OK } from "./exit.ts";
import { jsonLine } from "./lines.ts";
import type { Session } from "./session.ts";

export async function run({ io, json, call, open }: Session) {
  const { db } = await open();
  await db.flush(call);
  if (json) await io.stdout.write(jsonLine({ flushed: true }));
  return EXIT_OK;
}
