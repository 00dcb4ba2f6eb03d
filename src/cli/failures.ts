import { asSyncError } from "../error.ts";
import type { SyncError } from "../error.ts";
import { EXIT, EXIT_OK } from "./exit.ts";
import type { Io } from "./io.ts";
import { jsonLine } from "./lines.ts";
import type { Progress } from "./progress.ts";

/** How many failures are told one by one; `--json` tells all. */
const TOLD_MAX = 20;

/** Entries that failed while the rest went on. */
export interface Failures {
  readonly count: number;
  /** @param what the key, the file or the line. */
  add(what: string, error: unknown): Promise<void>;
  /** Sums up. @returns the exit status: that of the first failure's class. */
  end(): Promise<number>;
}

export function failures(io: Io, json: boolean, progress: Progress): Failures {
  let count = 0;
  let first: SyncError | undefined;
  return {
    get count() {
      return count;
    },
    async add(what, thrown) {
      const error = asSyncError(thrown);
      first ??= error;
      count++;
      if (!json && count > TOLD_MAX) return;
      await progress.clear();
      const { code, message } = error;
      const line = json
        ? jsonLine({ failed: what, code, message })
        : `microsync: ${JSON.stringify(what)} failed: ${message.replaceAll("\n", " ")}\n`;
      await io.stderr.write(line);
    },
    async end() {
      if (first === undefined) return EXIT_OK;
      if (!json && count > TOLD_MAX) {
        await io.stderr.write(`microsync: and ${count - TOLD_MAX} more failed (--json tells all)\n`);
      }
      return EXIT[first.code];
    },
  };
}
