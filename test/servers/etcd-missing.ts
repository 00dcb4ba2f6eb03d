import { NEEDS, installed, mustRun } from "./apt.ts";

/** Undefined when there is an etcd to start; otherwise why not. Under CI there must be one. */
export const etcdMissing: string | undefined = await installed(NEEDS.etcd).then(
  () => undefined,
  (error: unknown) => {
    if (mustRun()) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    console.warn(`SKIPPED: the tests on a real etcd: ${reason}`);
    return reason;
  },
);
