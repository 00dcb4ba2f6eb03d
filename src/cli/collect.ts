import { EXIT_OK } from "./exit.ts";
import { jsonLine, orNull } from "./lines.ts";
import { countText } from "./progress.ts";
import type { Session } from "./session.ts";

export async function run(
  { io, json, call, open }: Session,
  _args: readonly string[],
  { dryRun = false }: { readonly dryRun?: boolean },
): Promise<number> {
  const { chain } = await open();
  const { removed, kept, error } = await chain.collect({ signal: call.signal, dryRun });
  if (json) await io.stdout.write(jsonLine({ removed, kept, dryRun, error: orNull(error?.message) }));
  else {
    const what = dryRun ? "would be removed" : "removed";
    await io.stderr.write(`${countText(removed, "key")} ${what} for good; ${kept} kept, not yet in every store\n`);
  }
  if (error !== undefined) throw error;
  return EXIT_OK;
}
