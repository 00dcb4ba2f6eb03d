import { createHash } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { microsync } from "./terminal.ts";
import type { Ran } from "./terminal.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "microsync-serve-"));
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

interface Running {
  readonly url: string;
  readonly stop: () => Promise<Ran>;
}

/** The command until it listens. */
async function serve(args: readonly string[], env: Record<string, string> = {}): Promise<Running> {
  const end = new AbortController();
  let told: (url: string) => void = () => undefined;
  const listening = new Promise<string>((resolve) => {
    told = resolve;
  });
  const ran = microsync(folder, ["--chain", "memory:", "serve", "--listen", "0", ...args], {
    env,
    signal: end.signal,
    onOut: (text) => told(text.trim()),
  });
  const url = await Promise.race([
    listening,
    ran.then(({ err }) => {
      throw new Error(err);
    }),
  ]);
  return {
    url,
    stop: () => {
      end.abort();
      return ran;
    },
  };
}

const hashOf = (token: string) => createHash("sha256").update(token).digest("hex");

describe("microsync serve", () => {
  it("answers on this machine alone when nothing is said, and ends with 0 when told to", async () => {
    const { url, stop } = await serve(["--name", "home"]);
    expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    expect((await fetch(`${url}/v1/kv/greeting`, { method: "PUT", body: "Good morning" })).status).toBe(200);
    expect(await (await fetch(`${url}/v1/kv/greeting`)).text()).toBe("Good morning");
    const { status, err } = await stop();
    expect({ status, err }).toEqual({ status: 0, err: "microsync: home answers for chain(memory)\n" });
    await expect(fetch(`${url}/livez`)).rejects.toThrow();
  });

  it("is a layer of another chain, by its URL", async () => {
    const { url, stop } = await serve([]);
    const chain = ["--chain", `memory: ${url}/`];
    expect(await microsync(folder, [...chain, "set", "k", "from afar"])).toMatchObject({ status: 0, err: "" });
    expect(await microsync(folder, [...chain, "get", "k"])).toMatchObject({ status: 0, out: "from afar" });
    expect(await (await fetch(`${url}/v1/kv/k`)).text()).toBe("from afar");
    await stop();
  });

  // Mutation: the door for local callers put before every address.
  it("answers other machines only with tokens", async () => {
    const open = await microsync(folder, ["--chain", "memory:", "serve", "--listen", "0.0.0.0:0"]);
    expect(open).toMatchObject({ status: 2, out: "" });
    expect(open.err).toContain("give --tokens FILE, or listen on 127.0.0.1");
    await writeFile(join(folder, "tokens"), `# readers\nada sha256:${hashOf("secret-of-ada")} read,write\n`);
    const { url, stop } = await serve(["--listen", "0.0.0.0:0"], { MICROSYNC_TOKENS: "tokens" });
    const local = url.replace("0.0.0.0", "127.0.0.1");
    expect((await fetch(`${local}/v1/kv/k`)).status).toBe(401);
    const { host } = new URL(local);
    const chain = ["--chain", `memory: http://secret-of-ada@${host}/`];
    expect(await microsync(folder, [...chain, "set", "k", "v"])).toMatchObject({ status: 0 });
    const refused = await microsync(folder, ["--chain", `memory: http://wrong-secret@${host}/`, "get", "k"]);
    expect(refused.status).toBe(8);
    expect(refused.err).not.toContain("wrong-secret");
    const { err } = await stop();
    expect(err).not.toContain("secret");
  });

  it("takes what is not said from the environment, and that from the configuration file", async () => {
    const own = await mkdtemp(join(folder, "configured-"));
    const write = (serve: unknown) =>
      writeFile(join(own, "microsync.config.json"), JSON.stringify({ chain: "memory:", serve }));
    const namesOf = async (args: readonly string[], env: Record<string, string>) => {
      const end = new AbortController();
      const ran = await microsync(own, ["serve", ...args], { env, signal: end.signal, onOut: () => end.abort() });
      return [ran.status, ran.err];
    };
    await writeFile(join(own, "who"), `ada sha256:${hashOf("x")} read\n`);
    await write({ listen: "0.0.0.0:0", name: "from-file", tokens: "who" });
    expect(await namesOf([], {})).toEqual([0, "microsync: from-file answers for chain(memory)\n"]);
    expect(await namesOf([], { MICROSYNC_NAME: "from-env" })).toEqual([
      0,
      "microsync: from-env answers for chain(memory)\n",
    ]);
    const flags = ["--name", "from-flag"];
    expect(await namesOf(flags, { MICROSYNC_NAME: "e" })).toEqual([
      0,
      "microsync: from-flag answers for chain(memory)\n",
    ]);
    for (const wrong of [5, { port: "1" }, { listen: 1 }]) {
      await write(wrong);
      expect((await namesOf([], {}))[0]).toBe(2);
    }
  });

  it("refuses what it cannot use, before it opens the chain", async () => {
    await writeFile(join(folder, "bad-tokens"), "ada plain-text read\n");
    for (const [args, what] of [
      [["--listen", "nowhere"], "is no address to listen on"],
      [["--tls-cert", "c.pem"], "a certificate and its key go together"],
      [["--tokens", "bad-tokens"], "line 1, is no token"],
      [["--connections", "many"], "--connections"],
    ] as const) {
      const ran = await microsync(folder, ["--chain", "git:./none.git", "serve", ...args]);
      expect(ran).toMatchObject({ status: 2, out: "" });
      expect(ran.err).toContain(what);
      expect(ran.err).not.toContain("plain-text");
    }
  });
});
