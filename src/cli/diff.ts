import { diff } from "../session/index.ts";
import type { Store } from "../store.ts";
import { EXIT, EXIT_FAILED, EXIT_OK } from "./exit.ts";
import { gathered, jsonLine } from "./lines.ts";
import { countText, progress } from "./progress.ts";
import type { Session } from "./session.ts";
import { clockOf, openSide } from "./sides.ts";
import { optionsOf } from "./transfer.ts";
import type { TransferFlags } from "./transfer.ts";

export interface DiffFlags extends TransferFlags {
  /** Without the keys that are the same. */
  readonly brief?: boolean;
  readonly null?: boolean;
}

/** A symbol for each key. @returns 0 only when both sides have the same. */
export async function run(
  session: Session,
  [from = "", to = ""]: readonly string[],
  flags: DiffFlags,
): Promise<number> {
  const { io, json } = session;
  const options = optionsOf(session, flags);
  const clock = await clockOf(io);
  const shown = progress(io);
  const counts = { "=": 0, "+": 0, "-": 0, "*": 0, "!": 0 };
  const end = flags.null === true ? "\0" : "\n";
  const out = gathered(io.stdout);
  const stores: Store[] = [];
  let status = EXIT_OK;
  try {
    stores.push(await openSide(io, from, "read", clock));
    stores.push(await openSide(io, to, "read", clock));
    const [source, target] = stores as [Store, Store];
    let keys = 0;
    for await (const { key, symbol, error } of diff(source, target, options)) {
      counts[symbol]++;
      if (error !== undefined && status <= EXIT_FAILED) status = EXIT[error.code];
      else if (symbol !== "=" && status === EXIT_OK) status = EXIT_FAILED;
      if (++keys % 100 === 0) shown.tell(() => `diff: ${countText(keys, "key")} compared`);
      if (symbol === "=" && flags.brief === true) continue;
      const failure = error === undefined ? {} : { code: error.code, message: error.message };
      await out.add(json ? jsonLine({ symbol, key, ...failure }) : `${symbol} ${key}${end}`);
    }
    await out.end();
  } finally {
    await shown.clear();
    for (const store of stores.toReversed()) await store.close();
  }
  const { "=": same, "+": added, "-": missing, "*": different, "!": failed } = counts;
  if (json)
    await io.stdout.write(
      jsonLine({ verb: "diff", equal: status === EXIT_OK, same, added, missing, different, failed }),
    );
  else {
    const not = failed === 0 ? "" : `, ${failed} could not be compared`;
    const sum = `${same} the same, ${added} only in the source, ${missing} only in the target, ${different} different${not}`;
    await io.stderr.write(`${sum}\n`);
  }
  return status;
}
