import { SyncError } from "../error.ts";
import type { Runtime } from "../runtime.ts";
import type { Store } from "../store.ts";
import type { VersionClock } from "../version.ts";
import { Session } from "./session.ts";
import type { Task } from "./session.ts";
import type { Pair } from "./pairs.ts";
import type { MirrorOptions, SessionResult } from "./types.ts";
import { live, verdictOf } from "./verdict.ts";

const MAX_DELETE = "50%";
/** How many keys are looked at between two tellings that somebody looks. */
const TELL_KEYS = 10_000;

/**
 * Makes the target's values those of the source: newer ones there are replaced, and what the source has not is deleted.
 *
 * First it looks what there is to do, and refuses with CONFLICT, before anything is written, when the source has no values
 * at all or more would be deleted than `maxDelete`. Deleting comes last, and only if everything else was done; each key is
 * asked of the source once more before it is deleted.
 *
 * @throws SessionError as `copyWith`.
 */
export async function mirrorWith(
  from: Store,
  to: Store,
  options: MirrorOptions & { readonly runtime: Runtime; readonly clock: VersionClock },
): Promise<SessionResult> {
  const limit = limitOf(options.maxDelete ?? MAX_DELETE);
  const { clock } = options;
  const session = new Session("mirror", from, to, options, { stamp: async (above) => clock.stamp(above) });
  const all = { prefix: options.prefix ?? "", after: undefined, until: undefined };
  try {
    const planned = await plan(session);
    const allowed = limit(planned.targets);
    if (planned.sources === 0 && planned.deletes > 0)
      throw refusal(session, "the source has no values", planned.deletes);
    if (planned.deletes > allowed) {
      const what = `${planned.deletes} of the target's ${planned.targets} keys would be deleted, above the limit of ${allowed}`;
      throw refusal(session, what, planned.deletes);
    }
    const spans = await session.spans();
    await session.pass(
      spans,
      "copying",
      (pair) => toWrite(session, pair, options.compare),
      (after) => session.save(after),
    );
    if (planned.deletes > 0 && session.stats.failed === 0) {
      const { keys } = session.stats;
      let deletes = 0;
      await session.pass([all], "deleting", (pair) => {
        if (verdictOf(pair, session.now) !== "only-to") return undefined;
        if (++deletes > allowed) throw refusal(session, "the target has more to delete than was planned", deletes);
        return "delete";
      });
      session.stats.keys = keys; // seen before
    }
  } catch (error) {
    throw session.failure(error);
  }
  return session.end();
}

interface Planned {
  sources: number;
  targets: number;
  deletes: number;
}

async function plan(session: Session): Promise<Planned> {
  const planned: Planned = { sources: 0, targets: 0, deletes: 0 };
  const { prefix, signal } = session.options;
  let keys = 0;
  for await (const pair of session.pairs({ prefix, after: undefined, until: undefined })) {
    if (signal?.aborted === true) throw new SyncError("ABORTED", "interrupted");
    if (++keys % TELL_KEYS === 0) await session.tell("planning");
    if (live(pair.from, session.now) !== undefined) planned.sources++;
    if (live(pair.to, session.now) !== undefined) planned.targets++;
    if (verdictOf(pair, session.now) === "only-to") planned.deletes++;
  }
  session.total = keys;
  await session.tell("planning");
  return planned;
}

function toWrite(session: Session, pair: Pair, compare: MirrorOptions["compare"]): Task["kind"] | undefined {
  const verdict = verdictOf(pair, session.now, compare);
  switch (verdict) {
    case "only-from":
    case "from-newer":
      return "copy";
    case "to-newer":
      return compare === "version" ? "copy" : "equal";
    case "unsure":
      return "equal";
    case "same":
      session.countSame();
      return undefined;
    case "only-to":
    case "nothing":
      return undefined;
  }
}

/** @throws SyncError INVALID */
function limitOf(maxDelete: number | string): (targets: number) => number {
  if (typeof maxDelete === "number" && Number.isSafeInteger(maxDelete) && maxDelete >= 0) return () => maxDelete;
  const [, percent] = /^(\d{1,3}(?:\.\d+)?)%$/.exec(String(maxDelete)) ?? [];
  const share = Number(percent);
  if (percent !== undefined && share <= 100) return (targets) => Math.floor((targets * share) / 100);
  throw new SyncError("INVALID", `maxDelete is ${JSON.stringify(maxDelete)}`, {
    operation: "mirror",
    cure: 'give a number of keys, or a share of the target such as "50%"',
  });
}

function refusal(session: Session, what: string, count: number): SyncError {
  const cure =
    session.stats.copied === 0
      ? `nothing was written; if ${count} keys are to be deleted, raise maxDelete, or look at the source first`
      : "run it again";
  return new SyncError("CONFLICT", what, { store: session.to.name, operation: "mirror", cure });
}
