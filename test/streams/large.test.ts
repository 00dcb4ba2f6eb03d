import { execFile, execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it, test } from "vitest";
import type { Body } from "../../src/body.ts";
import { journal } from "../../src/config/journal-folder.ts";
import { git } from "../../src/stores/git/open.ts";
import { lmdb } from "../../src/stores/lmdb.ts";
import { s3 } from "../../src/stores/s3.ts";
import type { Store } from "../../src/store.ts";
import { systemRuntime as runtime } from "../../src/system.ts";
import { reachable } from "../servers/apt.ts";
import { KEYS, radosgw } from "../servers/radosgw.ts";
import { compiled } from "../stores/compiled.ts";

const run = promisify(execFile);
const MIB = 1024 * 1024;
const BYTES = 200 * MIB;
const GROWTH_BYTES_MAX = 64 * MIB;
const ceph = await reachable(radosgw);
const endpoint = "server" in ceph ? ceph.server.url : "";
if ("missing" in ceph) test(`S3 is not among the layers: ${ceph.missing}`, (context) => context.skip(ceph.missing));

const folder = mkdtempSync(join(tmpdir(), "microsync-large-"));
const remote = join(folder, "truth.git");
let program = "";
beforeAll(() => {
  program = compiled("test/streams/large.child.ts", "large");
  execFileSync("git", ["init", "--quiet", "--bare", "--initial-branch=main", remote]);
}, 60_000);
afterAll(async () => {
  rmSync(folder, { recursive: true, force: true });
  if ("server" in ceph) await ceph.server.stop();
});

interface Said {
  readonly acknowledged: number;
  readonly flushed: number;
  readonly most: number;
  readonly got: string;
  readonly sent: string;
  readonly size: number;
  readonly where: readonly (readonly [string, string])[];
  readonly version: string;
}

const stores: Record<string, () => Promise<Store>> = {
  lmdb: () => lmdb(join(folder, "lmdb"), { runtime }),
  git: () => git(`git:file://${remote}#main`, { runtime, cacheFolder: join(folder, "other") }),
  ...(endpoint === "" ? {} : { s3: () => s3({ runtime, endpoint, bucket: "large", credentials: KEYS }) }),
};

const bodyIn = async (store: Store, key = "big"): Promise<Body | undefined> => {
  return (await store.read([key], { wholeBytesMax: MIB }))[0]?.body;
};
const hashed = async (pieces: AsyncIterable<Uint8Array> | undefined) => {
  const sum = createHash("sha256");
  for await (const piece of pieces ?? []) sum.update(piece);
  return sum.digest("hex");
};
const bytesOf = async (pieces: AsyncIterable<Uint8Array> | undefined) => {
  const all: Uint8Array[] = [];
  for await (const piece of pieces ?? []) all.push(piece.slice());
  return Buffer.concat(all);
};

describe("a value of 200 MiB", () => {
  let said: Said;

  // Mutations: the flush sends the value as bytes; the journal keeps it in memory; a store reads it whole.
  it("goes through journal, disk, S3 and git with LFS, and is read again, within 64 MiB of memory", async () => {
    const { stdout } = await run(process.execPath, [program, "through", folder, endpoint, String(BYTES / MIB), remote]);
    said = JSON.parse(stdout) as Said;
    expect(said.size).toBe(BYTES);
    expect(said.got).toBe(said.sent);
    const layers = endpoint === "" ? ["lmdb", "git"] : ["lmdb", "s3", "git"];
    // Memory takes no streams: what it is left is a stub.
    expect(said.where).toEqual([["memory", "stub"], ...layers.map((name) => [name, "value"])]);
    expect(said.most, JSON.stringify(said)).toBeLessThanOrEqual(GROWTH_BYTES_MAX);
  }, 120_000);

  it.each(Object.keys(stores))("is in %s alone, byte for byte, and in parts", async (name) => {
    const store = await (stores[name] as () => Promise<Store>)();
    try {
      const [answer] = await store.read(["big"], { wholeBytesMax: MIB });
      expect(answer?.entry?.version).toBe(said.version);
      expect(answer?.entry?.meta).toEqual({ "content-type": "video/mp4", note: "x" });
      expect(answer?.body?.size).toBe(BYTES);
      expect(await hashed(answer?.body?.content())).toBe(said.sent);
      const parts = [
        [0, 1],
        [64 * 1024 - 1, 64 * 1024 + 1],
        [100 * MIB - 7, 100 * MIB + 7],
        [BYTES - 5, BYTES + 5],
      ] as const;
      // One pass over the value gives what each of the parts has to be.
      const expected = parts.map(() => [] as Uint8Array[]);
      let at = 0;
      for await (const piece of answer?.body?.content() ?? []) {
        for (const [i, [start, end]] of parts.entries()) {
          expected[i]?.push(piece.slice(Math.max(0, start - at), Math.max(0, end - at)));
        }
        at += piece.length;
      }
      for (const [i, [start, end]] of parts.entries()) {
        const part = await bytesOf((await bodyIn(store))?.content({ start, end }));
        expect(part.length).toBe(Math.min(end, BYTES) - start);
        expect(part.equals(Buffer.concat(expected[i] ?? []))).toBe(true);
      }
    } finally {
      await store.close();
    }
  });

  it("is not kept in the journal once every layer has it", async () => {
    const left = readdirSync(join(folder, "journal")).filter((name) => name.startsWith("body-"));
    expect(left).toEqual([]);
  });
});

describe("a process that is killed while a value comes in", () => {
  it("leaves nothing half: no layer has any of it, and its file goes at the next start", async () => {
    const place = mkdtempSync(join(folder, "killed-"));
    const child = spawn(process.execPath, [program, "never", place, "", "1", remote], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
    for await (const line of createInterface({ input: child.stdout })) {
      expect(JSON.parse(line)).toEqual({ underWay: 16 * MIB });
      break;
    }
    child.kill("SIGKILL");
    await ended;
    const files = () => readdirSync(join(place, "journal")).filter((name) => name.startsWith("body-"));
    expect(files()).toHaveLength(1);
    expect(statSync(join(place, "journal", files()[0] ?? "")).size).toBeGreaterThan(8 * MIB);
    const disk = await lmdb(join(place, "lmdb"), { runtime });
    expect((await disk.read(["big"]))[0]?.entry).toBeUndefined();
    await disk.close();
    const opened = await journal(join(place, "journal"), { runtime });
    opened.attach([{ name: "git", role: "store", shared: true }], {
      route: () => ({ mask: 1, first: 1 }),
      landed: () => undefined,
      floor: () => undefined,
      unfloor: () => undefined,
      suspect: () => undefined,
      replayed: () => undefined,
      floorMs: 0,
      report: () => undefined,
    });
    opened.begin();
    expect(opened.newest("big")).toBeUndefined();
    await opened.close();
    expect(files()).toEqual([]);
  }, 60_000);
});
