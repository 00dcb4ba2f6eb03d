import { execFile, spawnSync } from "node:child_process";
import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import { layer } from "../../src/chain/layer.ts";
import { memory } from "../../src/stores/memory.ts";
import { read } from "../project.ts";
import { folderFor } from "../stores/http/folder.ts";
import { runtime, serve } from "../stores/http/world.ts";

const hasCurl = spawnSync("curl", ["--version"]).status === 0;

describe.skipIf(!hasCurl)("curl, as README shows it", () => {
  // Mutation: any path or header of the block.
  it("stores a file, gets it back, lists it, and hears of it", async () => {
    const [, block = ""] = /```sh\n(microsync serve[\s\S]*?)```/.exec(read("README.md")) ?? [];
    const [, ...commands] = block.trim().split("\n");
    expect(commands).toHaveLength(4);
    const folder = await folderFor("curl");
    const { server, close } = await serve([layer(memory({ runtime }))]);
    try {
      const bytes = Uint8Array.of(137, 80, 78, 71, 0, 255);
      await writeFile(join(folder, "ada.png"), bytes);
      const outputs: string[] = [];
      for (const command of commands) {
        // The feed has no end of its own: what it says at its beginning is enough.
        const endless = command.includes("/v1/changes") ? " | head -n 5" : "";
        const own = command.replaceAll("http://127.0.0.1:7420", server.url).replace("curl ", "curl -sS --max-time 20 ");
        const { stdout } = await promisify(execFile)("sh", ["-c", own + endless], { cwd: folder });
        outputs.push(stdout);
      }
      expect(JSON.parse(outputs[0] ?? "")).toMatchObject({ key: "photos/ada.png" });
      const copy = await readFile(join(folder, "copy.png"));
      expect(copy.toString("latin1")).toContain("content-type: image/png");
      expect(copy.subarray(-bytes.length)).toEqual(Buffer.from(bytes));
      expect(JSON.parse(outputs[2] ?? "")).toMatchObject({ keys: [{ key: "photos/ada.png" }], cursor: null });
      expect(outputs[3]).toContain("event: heartbeat");
    } finally {
      await close();
      await rm(folder, { recursive: true });
    }
  });

  // Mutation: any field of the lines.
  it("does many things at once, as docs/protocol.md shows it", async () => {
    const [, block = ""] = /```sh\n(curl[^\n]*v1\/batch[\s\S]*?)```/.exec(read("docs/protocol.md")) ?? [];
    const { server, close } = await serve([layer(memory({ runtime }))]);
    try {
      const own = block.replaceAll("http://127.0.0.1:7420", server.url).replace("curl ", "curl -sS --max-time 20 ");
      const { stdout } = await promisify(execFile)("sh", ["-c", own]);
      const told = stdout
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as object);
      expect(told).toMatchObject([
        { key: "users/ada" },
        { key: "notes/1" },
        { key: "users/ada", state: "value", value: { name: "Ada" } },
        { key: "users/bob" },
        { key: "users/bob", state: "deleted" },
      ]);
      expect(JSON.stringify(told)).not.toContain("error");
    } finally {
      await close();
    }
  });
});
