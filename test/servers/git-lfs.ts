import { NEEDS, installed, mustRun } from "./apt.ts";

/** Why the real git lfs client cannot be had, which is also said; undefined: it is there. Under CI it must be had. */
export async function gitLfsMissing(): Promise<string | undefined> {
  try {
    await installed(NEEDS.gitLfs);
    return undefined;
  } catch (error) {
    if (mustRun()) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    console.warn(`SKIPPED: the tests with the real git lfs: ${reason}`);
    return reason;
  }
}
