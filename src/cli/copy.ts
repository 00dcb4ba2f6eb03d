import { copy } from "../session/index.ts";
import type { Session } from "./session.ts";
import { transfer } from "./transfer.ts";
import type { TransferFlags } from "./transfer.ts";

/** Gives the target what it lacks or has in an older version. */
export function run(session: Session, args: readonly string[], flags: TransferFlags): Promise<number> {
  return transfer(session, "copy", args, flags, copy);
}
