import { cloneValue } from "../codec.ts";
import { checkKey, isDead } from "../entry.ts";
import type { Entry, Meta } from "../entry.ts";
import { SyncError } from "../error.ts";
import { randomBelow, sleep } from "../runtime.ts";
import type { Version } from "../version.ts";
import { ackOptions, written } from "./call.ts";
import { tooLarge } from "./reading.ts";
import type { Engine } from "./engine.ts";
import { decodeThrough } from "./lens.ts";
import type { Kept, Lens } from "./lens.ts";
import type { UpdateOptions } from "./types.ts";
import { waitFor } from "./wait.ts";
import { checkDraft, draftOf, entryOf } from "./writing.ts";

const ATTEMPTS_MAX = 16;
/** The longest wait before the second attempt, in milliseconds; doubled for each one after it, up to the limit below. */
const BACKOFF_MS = 4;
const BACKOFF_MS_MAX = 1_000;

/**
 * Read at the authority, compute, write on the condition that nobody else wrote: until it holds. Updates of one key
 * from this process take turns, so that they do not lose races against each other.
 */
export async function update(
  engine: Engine,
  lens: Lens,
  key: string,
  fn: (value: unknown) => unknown,
  options: UpdateOptions = {},
): Promise<unknown> {
  checkKey(key);
  const { attemptsMax = ATTEMPTS_MAX, signal } = options;
  if (!(Number.isInteger(attemptsMax) && attemptsMax >= 1)) {
    throw new SyncError("INVALID", "attemptsMax is a whole number of 1 or more", { operation: "update", key });
  }
  if (!engine.chain.supports.conditional) {
    throw new SyncError("UNSUPPORTED", "no layer of the chain can compare-and-set", {
      operation: "update",
      key,
      cure: "add a store that can, such as lmdb: or git:, or read and set at your own risk",
    });
  }
  const call = ackOptions(engine.chain, engine.runtime, options);
  const turn = engine.updates.take(key, async () => {
    let base: Entry | "unread" | undefined = "unread";
    for (let attempt = 1; ; attempt++) {
      if (base === "unread") {
        const [answer] = await engine.chain.read([key], { ...call, authority: true });
        if (answer === undefined || answer.stale) throw unavailable(key);
        if (answer.body !== undefined) throw tooLarge(key, answer.body.size, engine.chain.wholeBytesMax);
        base = answer.entry;
      }
      const outcome: Attempt = await attemptOnce(engine, lens, key, base, fn, options, call);
      if (outcome.done) return outcome.kept.give();
      if (attempt === attemptsMax) {
        throw new SyncError("CONFLICT", `others changed the key during ${attempt} attempts`, {
          operation: "update",
          key,
          cure: "try again, with a larger attemptsMax if the key is written often",
        });
      }
      // What the authority answered is the next base; what it could not say is read again.
      base = outcome.current ?? "unread";
      const limit = Math.min(BACKOFF_MS_MAX, BACKOFF_MS * 2 ** (attempt - 1));
      await sleep(engine.runtime, randomBelow(engine.runtime, limit + 1), signal).catch((cause: unknown) => {
        throw new SyncError("ABORTED", "the caller gave up", { operation: "update", key, cause });
      });
    }
  });
  return waitFor(engine.runtime, turn, call, "update", key);
}

function unavailable(key: string): SyncError {
  return new SyncError("UNAVAILABLE", "the layer that decides did not answer", {
    operation: "update",
    key,
    cure: "try again",
  });
}

type Attempt =
  { readonly done: true; readonly kept: Kept } | { readonly done: false; readonly current: Entry | undefined };

async function attemptOnce(
  engine: Engine,
  lens: Lens,
  key: string,
  base: Entry | undefined,
  fn: (value: unknown) => unknown,
  options: UpdateOptions,
  call: ReturnType<typeof ackOptions>,
): Promise<Attempt> {
  const dead = base === undefined || isDead(base, engine.runtime.now());
  const before = dead || base === undefined ? undefined : await decodeThrough(lens, base);
  // A copy that may be changed in place; what cannot be copied was just decoded and is nobody else's.
  const value = await fn(before?.sharing === "none" ? before.value : cloneValue(before?.value));
  if (value === undefined) {
    throw new SyncError("INVALID", "the function gave undefined", {
      operation: "update",
      key,
      cure: "return the new value, or use delete to remove the key",
    });
  }
  const draft = draftOf(engine, lens, key, value, lifeOf(base, dead, options));
  const checked = await checkDraft(lens, draft);

  const asOf = engine.runtime.now();
  const entry = entryOf(draft, await engine.clock.stamp(base?.version));
  const condition: "absent" | Version = dead || base === undefined ? "absent" : base.version;
  const [result] = await engine.chain.write([{ entry, asOf, if: condition }], call);
  if (result?.status === "conflict") return { done: false, current: result.current };
  if (result?.status === "superseded") return { done: false, current: undefined };
  written(entry, result, "update");
  return { done: true, kept: checked ?? (await decodeThrough(lens, entry)) };
}

/** Expiry and metadata of the value that is replaced, unless the caller gives others. */
function lifeOf(base: Entry | undefined, dead: boolean, { ttlMs, expires, meta }: UpdateOptions) {
  if (base === undefined || dead) return { ttlMs, expires, meta };
  const { "content-type": _codecs, ...own } = base.meta;
  const kept: Meta = meta ?? own;
  return ttlMs === undefined && expires === undefined
    ? { expires: base.expires, meta: kept }
    : { ttlMs, expires, meta: kept };
}
