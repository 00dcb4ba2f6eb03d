import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, test, vi } from "vitest";
import { conformance } from "microsync/testing";
import { file } from "../../src/stores/file.ts";
import { systemRuntime as runtime } from "../../src/system.ts";

const root = mkdtempSync(join(tmpdir(), "microsync-file-"));
let folders = 0;
/** A thousand files are synced one by one, on a disk that is busy with other tests. */
const PATIENCE_MS = 110_000;
vi.setConfig({ testTimeout: PATIENCE_MS + 10_000 });
afterAll(() => rmSync(root, { recursive: true }));

conformance({
  name: "file",
  runner: { describe, test, afterAll },
  patienceMs: PATIENCE_MS,
  open: async () => {
    const folder = join(root, String(folders++), "data");
    const options = { runtime, valueBytesMax: 1024 * 1024 };
    return { store: await file(folder, options), runtime, reopen: () => file(folder, options) };
  },
});

conformance({
  name: "file that need not last",
  runner: { describe, test, afterAll },
  patienceMs: PATIENCE_MS,
  seed: 2,
  runs: 10,
  open: async () => {
    const options = { runtime, durable: false };
    return { store: await file(join(root, String(folders++)), options), runtime };
  },
});
