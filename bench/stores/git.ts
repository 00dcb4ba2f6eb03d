import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Entry } from "../../src/entry.ts";
import { git } from "../../src/stores/git/index.ts";
import { systemRuntime as runtime } from "../../src/system.ts";
import type { Subject } from "./harness.ts";

/** As durable as the store's. */
const DURABLE = ["-c", "core.fsync=all", "-c", "core.fsyncMethod=batch"];

export async function gitSubject(): Promise<Subject> {
  const folder = mkdtempSync(join(tmpdir(), "microsync-bench-"));
  const store = await git("git:./store.git", { create: true, folder, cacheFolder: join(folder, "cache"), runtime });
  const bare = join(folder, "bare.git");
  execFileSync("git", ["init", "--quiet", "--bare", "--initial-branch=main", bare]);
  let head = "";

  const run = (args: readonly string[], input: Uint8Array | string) =>
    new Promise<Buffer>((resolve, reject) => {
      const child = spawn("git", ["-C", bare, ...DURABLE, ...args], { stdio: ["pipe", "pipe", "inherit"] });
      const chunks: Buffer[] = [];
      child.stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
      child.once("error", reject);
      child.once("close", (code) =>
        code === 0 ? resolve(Buffer.concat(chunks)) : reject(new Error(`git ${args[0]}: ${code}`)),
      );
      child.stdin.on("error", () => undefined); // a command that reads nothing may have ended; its code is what counts
      child.stdin.end(input);
    });
  /** Two files for each key, as in the store: the value, and what is to be compared with it. */
  const recordPath = (key: string) => `.microsync/entries/${createHash("sha1").update(key).digest("hex")}`;
  const record = ({ key, version, value }: Entry) => {
    const bytes = Buffer.from(value ?? "");
    const blob = createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
    return Buffer.from(`${JSON.stringify({ key, version, blob })}\n`);
  };
  const file = (path: string, bytes: Uint8Array) => [
    Buffer.from(`M 100644 inline ${path}\ndata ${bytes.length}\n`),
    bytes,
    Buffer.of(10),
  ];
  const objects = async (paths: readonly string[]): Promise<string> => {
    const asked = paths.map((path) => `refs/heads/main:${path}\n`).join("");
    return (await run(["cat-file", "--batch"], asked)).toString("utf8");
  };
  const versionIn = (text: string) => /"version":"([^"]+)"/g.exec(text)?.[1] ?? "";
  return {
    store,
    bare: {
      async write(items) {
        const held = head === "" ? "" : await objects(items.map(({ key }) => recordPath(key)));
        if (versionIn(held) >= (items[0]?.version ?? "")) throw new Error("not newer");
        const lines = [
          Buffer.from(`commit refs/heads/main\ncommitter x <x@localhost> ${Math.floor(Date.now() / 1_000)} +0000\n`),
          Buffer.from(`data 1\nm${head === "" ? "" : `from ${head}\n`}`),
          ...items.flatMap((item) => [
            ...file(item.key, item.value ?? new Uint8Array()),
            ...file(recordPath(item.key), record(item)),
          ]),
          Buffer.from("done\n"),
        ];
        await run(["fast-import", "--quiet", "--done"], Buffer.concat(lines));
        head = (await run(["rev-parse", "refs/heads/main"], "")).toString("utf8").trim();
      },
      async read(names) {
        const text = await objects(names.flatMap((key) => [recordPath(key), key]));
        if (text.includes(" missing\n")) throw new Error("not found");
      },
    },
    bareIs:
      "git cat-file --batch for what is there, git fast-import for one commit, git rev-parse; the same two files a key",
    versions: execFileSync("git", ["--version"], { encoding: "utf8" }).trim(),
    unit: "commits",
    requests: () =>
      Number(
        execFileSync("git", ["-C", join(folder, "store.git"), "rev-list", "--count", "main"], { encoding: "utf8" }),
      ),
    async close() {
      await store.close();
      rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}
