import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, test } from "vitest";
import { conformance } from "microsync/testing";
import { lmdb } from "../../src/stores/lmdb.ts";
import { systemRuntime } from "../../src/system.ts";

const runtime = systemRuntime;

conformance({
  name: "lmdb",
  runner: { describe, test, afterAll },
  open: async () => {
    const folder = await mkdtemp(join(tmpdir(), "microsync-lmdb-"));
    const options = { runtime, valueBytesMax: 1024 * 1024 };
    return {
      store: await lmdb(folder, options),
      runtime,
      reopen: () => lmdb(folder, options),
      close: () => rm(folder, { recursive: true }),
    };
  },
});
