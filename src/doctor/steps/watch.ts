import { SyncError } from "../../error.ts";
import type { Change } from "../../store.ts";
import { failure } from "../finding.ts";
import { msText, rounded } from "../measure.ts";
import { clientOf, entryOf, put } from "../visit.ts";
import type { Said, Step, Visit } from "../visit.ts";

/** How often a store that is polled is looked at here, in milliseconds; what asks others less often, by default. */
const INTERVAL_MS = 200;
const INTERVAL_MS_DEAR = 1_000;
const CURE = "rely on `ttl` for it, and switch its watch off with `watch=false`";

/** A change made on one connection is told on another. */
export const watch: Step = {
  id: "watch",
  writes: false,
  async run(visit) {
    const end = new AbortController();
    const { signal, deadline } = visit.call;
    const onAbort = () => end.abort(signal?.reason);
    signal?.addEventListener("abort", onAbort, { once: true });
    const intervalMs = visit.patient.keepsHistory ? INTERVAL_MS_DEAR : INTERVAL_MS;
    const options = { signal: end.signal, deadline, initial: false, intervalMs };
    const changes = clientOf(visit, 1).watch({ prefix: visit.prefix }, options)[Symbol.asyncIterator]();
    try {
      return await told(visit, changes);
    } finally {
      signal?.removeEventListener("abort", onAbort);
      end.abort();
      // A watch that does not end is none that the checks after it should wait for.
      changes.return?.().catch(() => undefined);
    }
  },
};

async function told(visit: Visit, changes: AsyncIterator<Change>): Promise<Said> {
  const { runtime, supports, readonly } = visit;
  const begun = runtime.monotonic();
  if (!(await until(visit, changes, ({ kind }) => kind === "current"))) {
    return { what: "does not begin", notes: [failure("the watch does not say that it has begun", CURE)] };
  }
  const beginMs = rounded(runtime.monotonic() - begun);
  const how = supports.watch === "push" ? "pushed" : "polled";
  if (readonly) return { what: `begins after ${msText(beginMs)}, ${how}`, figures: { beginMs } };
  const entry = await entryOf(visit, "watch", "changed");
  await put(visit, [entry]);
  const written = runtime.monotonic();
  const came = await until(
    visit,
    changes,
    (change) => change.kind === "change" && change.key === entry.key && change.head?.version === entry.version,
  );
  const afterMs = rounded(runtime.monotonic() - written);
  if (!came)
    return { what: "does not tell", notes: [failure(`a change was not told within ${msText(afterMs)}`, CURE)] };
  return { what: `a change arrives after ${msText(afterMs)}, ${how}`, figures: { beginMs, afterMs } };
}

/** Whether such a change comes within half of the time that is left. @throws SyncError of the watch. */
async function until(
  visit: Visit,
  changes: AsyncIterator<Change>,
  isIt: (change: Change) => boolean,
): Promise<boolean> {
  const { runtime, call } = visit;
  const patienceMs = Math.max(0, ((call.deadline ?? 0) - runtime.monotonic()) / 2);
  let cancel = () => {};
  const tooLong = new Promise<undefined>((resolve) => {
    const timer = runtime.timer(patienceMs, () => resolve(undefined));
    cancel = () => timer.cancel();
  });
  try {
    for (;;) {
      const asking = changes.next();
      asking.catch(() => undefined); // after the time is up its failure is of no interest
      const next = await Promise.race([asking, tooLong]);
      if (next === undefined) return false;
      if (next.done === true) throw new SyncError("INTERNAL", "the watch ended by itself");
      if (next.value.kind === "relist") throw new SyncError("UNAVAILABLE", `the watch broke: ${next.value.reason}`);
      if (isIt(next.value)) return true;
    }
  } finally {
    cancel();
  }
}
