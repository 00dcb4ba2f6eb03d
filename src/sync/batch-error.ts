import { SyncError } from "../error.ts";
import type { BatchFailure } from "./types.ts";

/** Some keys of a batch were not written. Its code is that of the first failure. */
export class BatchError extends SyncError {
  readonly failures: readonly BatchFailure[];
  /** Whether the keys that are not named were written; false when everything was checked first and nothing was sent. */
  readonly othersWritten: boolean;

  /** @param failures At least one. */
  constructor(failures: readonly BatchFailure[], total: number, othersWritten: boolean) {
    const [first] = failures;
    const rest = othersWritten && failures.length < total ? "the others were written" : "nothing was written";
    super(
      first?.error.code ?? "INTERNAL",
      `${failures.length} of ${total} keys were refused, ${rest}; the first: ${first?.error.message}`,
      { operation: "setMany", cause: first?.error, retryable: failures.every(({ error }) => error.retryable) },
    );
    this.failures = failures;
    this.othersWritten = othersWritten;
  }
}
