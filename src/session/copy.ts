import type { Runtime } from "../runtime.ts";
import type { Store } from "../store.ts";
import { Session } from "./session.ts";
import type { CopyOptions, SessionResult } from "./types.ts";
import { verdictOf } from "./verdict.ts";

/**
 * Gives the target every value of the source that it lacks or has in an older version. A newer one in the target stays, and
 * nothing is deleted. Copying again does no harm, and does nothing where nothing changed.
 *
 * @throws SessionError when not everything could be done: a list failed, a key failed (the others are done nevertheless), or
 * the signal came. SyncError INVALID for an option out of range.
 */
export async function copyWith(
  from: Store,
  to: Store,
  options: CopyOptions & { readonly runtime: Runtime },
): Promise<SessionResult> {
  const session = new Session("copy", from, to, options);
  const { compare } = options;
  try {
    const spans = await session.spans();
    await session.pass(
      spans,
      "copying",
      (pair) => {
        const verdict = verdictOf(pair, session.now, compare);
        switch (verdict) {
          case "only-from":
          case "from-newer":
            return "copy";
          case "unsure":
            return "equal";
          case "to-newer":
            return session.keep(pair.key);
          case "same":
            session.countSame();
            return undefined;
          case "only-to":
          case "nothing":
            return undefined;
        }
      },
      (after) => session.save(after),
    );
  } catch (error) {
    throw session.failure(error);
  }
  return session.end();
}
