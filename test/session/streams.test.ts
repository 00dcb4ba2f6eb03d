import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { SessionError, copy } from "../../src/session/index.ts";
import type { Store } from "../../src/store.ts";
import { file } from "../../src/stores/file.ts";
import { lmdb } from "../../src/stores/lmdb.ts";
import { memory } from "../../src/stores/memory.ts";
import { systemRuntime as runtime } from "../../src/system.ts";
import { diffOf, entry, put } from "./world.ts";

let folder: string;
let from: Store;
const opened: Store[] = [];
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "microsync-session-"));
  from = await file(join(folder, "from"), { runtime });
  opened.push(from);
});
afterEach(async () => {
  for (const store of opened.splice(0)) await store.close();
  rmSync(folder, { recursive: true });
});

const BYTES = 3 * 1024 * 1024;
const noise = (seed: number) => Uint8Array.from({ length: BYTES }, (_, i) => (i * seed) >> 5);

describe("large values", () => {
  it("go as streams where both sides take them, and are compared by checksum or piece by piece", async () => {
    writeFileSync(join(folder, "from", "a.bin"), noise(7));
    writeFileSync(join(folder, "from", "b.bin"), noise(11));
    const to = await lmdb(join(folder, "to"), { runtime, valueBytesMax: 1024 * 1024 });
    opened.push(to);
    expect(await copy(from, to)).toMatchObject({ copied: 2, bytes: 2 * BYTES });
    expect((await to.read(["a.bin"], { wholeBytesMax: 0 }))[0]?.body?.size).toBe(BYTES);
    expect(await diffOf(from, to, { compare: "content" })).toBe("=a.bin =b.bin");
    const changed = noise(11);
    changed[BYTES - 1] = (changed[BYTES - 1] ?? 0) + 1;
    writeFileSync(join(folder, "from", "b.bin"), changed);
    expect(await diffOf(from, to)).toBe("=a.bin *b.bin");
  });

  it("are brought together for a target that takes none, and refused where they are too large for it", async () => {
    writeFileSync(join(folder, "from", "a.bin"), noise(7));
    const to = memory({ runtime, bytesMax: 64 * 1024 * 1024 });
    expect(await copy(from, to)).toMatchObject({ copied: 1 });
    expect(await diffOf(from, to, { compare: "content" })).toBe("=a.bin");
    const small = memory({ runtime, bytesMax: 1024 * 1024 });
    const error: unknown = await copy(from, small).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(SessionError);
    expect(error).toMatchObject({ code: "TOO_LARGE", failures: [{ key: "a.bin" }] });
  });

  it("that the source gives whole go as streams where the target takes no such value whole", async () => {
    const source = memory({ runtime, bytesMax: 64 * 1024 * 1024 });
    await put(source, entry("k", 1, "x".repeat(200_000)));
    const to = await lmdb(join(folder, "to"), { runtime, valueBytesMax: 1000 });
    opened.push(to);
    expect(await copy(source, to)).toMatchObject({ copied: 1 });
    expect(await diffOf(source, to, { compare: "content" })).toBe("=k");
  });
});
