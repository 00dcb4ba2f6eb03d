import type { Seen } from "../git-layout/place.ts";
import type { Runtime } from "../../runtime.ts";

/** A question that many ask at once: those who may share an answer do, and nobody gets one from before they asked. */
export interface Asking {
  /** An answer to an asking that began after `notBefore` (Unix ms). */
  since(notBefore: number): Promise<Seen>;
  /** Takes in an answer that came another way. */
  know(seen: Seen): void;
  /** Waits for what is under way. */
  settle(): Promise<void>;
}

/** How often an asking that an answer from another way overtook is made again, before that answer counts. */
const OVERTAKEN_MAX = 8;

export function asking(runtime: Runtime, ask: () => Promise<string | null>): Asking {
  let seen: Seen | undefined;
  let running: { readonly asOf: number; readonly done: Promise<Seen> } | undefined;
  let queued: Promise<Seen> | undefined;
  let known = 0;

  const fetch = async (asOf: number, left = OVERTAKEN_MAX): Promise<Seen> => {
    const before = known;
    const commit = await ask();
    // What was asked may be from before what has become known meanwhile.
    if (known !== before) return left > 1 || seen === undefined ? fetch(asOf, left - 1) : seen;
    seen = { commit, asOf };
    return seen;
  };
  const start = (): Promise<Seen> => {
    const asOf = runtime.now();
    const done = fetch(asOf).finally(() => {
      if (running?.done === done) running = undefined;
    });
    running = { asOf, done };
    return done;
  };
  const anew = (): Promise<Seen> => {
    if (running === undefined) return start();
    queued ??= running.done
      .then(
        () => {},
        () => {}, // those who wait for it are told; the next one is asked by itself
      )
      .then(() => {
        queued = undefined;
        return start();
      });
    return queued;
  };

  return {
    async since(notBefore) {
      const now = runtime.now();
      if (seen !== undefined && seen.asOf > notBefore && seen.asOf <= now) return seen;
      if (running !== undefined && running.asOf > notBefore && running.asOf <= now) return running.done;
      return anew();
    },
    know(answer) {
      known++;
      seen = answer;
    },
    async settle() {
      await running?.done.catch(() => {}); // its callers are told
    },
  };
}
