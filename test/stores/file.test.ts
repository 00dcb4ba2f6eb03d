import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, test } from "vitest";
import { conformance } from "microsync/testing";
import { file } from "../../src/stores/file.ts";
import { systemRuntime as runtime } from "../../src/system.ts";

const root = mkdtempSync(join(tmpdir(), "microsync-file-"));
let folders = 0;
afterAll(() => rmSync(root, { recursive: true }));

conformance({
  name: "file",
  runner: { describe, test, afterAll },
  open: async () => {
    const folder = join(root, String(folders++), "data");
    const options = { runtime, valueBytesMax: 1024 * 1024 };
    return { store: await file(folder, options), runtime, reopen: () => file(folder, options) };
  },
});

conformance({
  name: "file that need not last",
  runner: { describe, test, afterAll },
  seed: 2,
  runs: 10,
  open: async () => {
    const options = { runtime, durable: false };
    return { store: await file(join(root, String(folders++)), options), runtime };
  },
});
