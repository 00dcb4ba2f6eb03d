import { SyncError } from "../error.ts";
import { randomBelow, sleep } from "../runtime.ts";
import type { Runtime } from "../runtime.ts";
import { BatchError } from "../sync.ts";
import type { BatchFailure, LifeOptions, SetManyOptions, Sync } from "../sync.ts";
import type { Failures } from "./failures.ts";
import type { Item, Raw } from "../node/lines.ts";
import type { LargeItem } from "./ndjson.ts";

export interface Sending {
  readonly db: Pick<Sync<Raw>, "setMany">;
  /** Put before every key. */
  readonly prefix: string;
  readonly options: SetManyOptions;
  readonly failed: Failures;
  readonly runtime: Runtime;
}

/** How often a batch is tried again, and the longest wait before the first of these, in milliseconds; then doubled. */
const RETRIES_MAX = 5;
const BACKOFF_MS = 500;

/**
 * Writes a batch. What is refused is told, taken out, and the rest sent again; what a slow or silent layer did not take is
 * sent again in halves, since the whole may have been more than it can do in its time. Sending twice is harmless.
 * @returns what was written. @throws whatever ends the import as a whole.
 */
export async function send(sending: Sending, batch: readonly Item[], retries = 0): Promise<readonly Item[]> {
  const { db, prefix, options, failed } = sending;
  if (batch.length === 0) return [];
  let error: BatchError;
  try {
    await db.setMany(
      batch.map(({ key, raw, expires, meta }): [string, Raw, LifeOptions] => [prefix + key, raw, { expires, meta }]),
      options,
    );
    return batch;
  } catch (thrown) {
    if (!(thrown instanceof BatchError) || thrown.code === "ABORTED" || thrown.code === "CLOSED") throw thrown;
    error = thrown;
  }
  const again = new Map<string, BatchFailure>();
  for (const failure of error.failures) {
    if (failure.error.retryable && retries < RETRIES_MAX) again.set(failure.key, failure);
    else await failed.add(failure.key, failure.error);
  }
  const refused = new Set(error.failures.map(({ key }) => key));
  const rest = batch.filter(({ key }) => !refused.has(prefix + key));
  const written = error.othersWritten ? rest : await send(sending, rest, retries);
  if (again.size === 0) return written;

  await pause(sending, retries);
  const left = batch.filter(({ key }) => again.has(prefix + key));
  const half = Math.ceil(left.length / 2);
  return [
    ...written,
    ...(await send(sending, left.slice(0, half), retries + 1)),
    ...(await send(sending, left.slice(half), retries + 1)),
  ];
}

/** Writes one large value, read anew each time that it is tried. @returns it, unless it was refused, which is told. */
export async function sendLarge(
  sending: Omit<Sending, "db"> & { readonly db: Pick<Sync<Raw>, "setStream"> },
  item: LargeItem,
): Promise<readonly LargeItem[]> {
  const { db, prefix, options, failed } = sending;
  const { key, type, expires, meta } = item;
  for (let retries = 0; ; retries++) {
    try {
      await db.setStream(prefix + key, item.open(), { ...options, expires, meta, contentType: type });
      return [item];
    } catch (error) {
      if (!(error instanceof SyncError) || error.code === "ABORTED" || error.code === "CLOSED") throw error;
      if (!error.retryable || retries === RETRIES_MAX) {
        await failed.add(prefix + key, error);
        return [];
      }
    }
    await pause(sending, retries);
  }
}

async function pause({ runtime, options }: Pick<Sending, "runtime" | "options">, retries: number): Promise<void> {
  await sleep(runtime, randomBelow(runtime, BACKOFF_MS * 2 ** retries), options.signal).catch((cause: unknown) => {
    throw new SyncError("ABORTED", "interrupted while waiting to try again", { operation: "import", cause });
  });
}
