import { mirror } from "../session/index.ts";
import type { Session } from "./session.ts";
import { maxDeleteOf, transfer } from "./transfer.ts";
import type { TransferFlags } from "./transfer.ts";

/** Makes the target's values those of the source. */
export async function run(session: Session, args: readonly string[], flags: TransferFlags): Promise<number> {
  const maxDelete = maxDeleteOf(flags.maxDelete);
  return transfer(session, "mirror", args, flags, (from, to, options) => mirror(from, to, { ...options, maxDelete }));
}
