import { readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { layer } from "../../src/chain/layer.ts";
import { openChain } from "../../src/config/open.ts";
import { memory } from "../../src/stores/memory.ts";
import { makeCertificates } from "../servers/certificates.ts";
import { folderFor } from "./http/folder.ts";
import { runtime, serve } from "./http/world.ts";
import type { Served } from "./http/world.ts";

let folder: string;
let served: Served;
let url: string;

beforeAll(async () => {
  folder = await folderFor("http-secure");
  const { serverCert, serverKey } = makeCertificates(folder);
  const tls = { cert: readFileSync(serverCert), key: readFileSync(serverKey) };
  served = await serve([layer(memory({ runtime }))], { listen: { tls } });
  url = `https://127.0.0.1:${served.server.port}/`;
});

afterAll(async () => {
  delete process.env["MICROSYNC_CA"];
  await served.close();
  await rm(folder, { recursive: true });
});

describe("a node behind a certificate of an authority of one's own", () => {
  const reads = async (chainUrl: string) => {
    const opened = await openChain(chainUrl, { base: folder, collectIntervalMs: 0 });
    try {
      return await opened.read(["k"]).catch((error: unknown) => error);
    } finally {
      await opened.close();
    }
  };

  // Mutations: `ca` not passed on (open-http.ts, http.ts, client.ts, wire/http.ts); the environment not looked at.
  it("is trusted by the option ca, by MICROSYNC_CA, and else not", async () => {
    expect(await reads(url)).toMatchObject({ code: "UNAVAILABLE" });
    expect(await reads(`${url}?ca=./ca.pem`)).toMatchObject([{ entry: undefined, complete: true }]);
    process.env["MICROSYNC_CA"] = "ca.pem";
    expect(await reads(url)).toMatchObject([{ entry: undefined, complete: true }]);
    delete process.env["MICROSYNC_CA"];
    // Another authority than the one that signed it.
    expect(await reads(`${url}?ca=./client.pem`)).toMatchObject({ code: "UNAVAILABLE" });
  });

  // Mutation: `ca` not passed on to the feed's connections (client.ts).
  it("is trusted by the feed of changes too", async () => {
    const opened = await openChain(`${url}?ca=./ca.pem`, { base: folder, collectIntervalMs: 0 });
    try {
      for await (const change of opened.watch({ prefix: "" })) {
        expect(change.kind).toBe("current");
        break;
      }
    } finally {
      await opened.close();
    }
  });

  it("of which the file cannot be read is refused, with its name", async () => {
    await expect(reads(`${url}?ca=./none.pem`)).rejects.toMatchObject({
      code: "INVALID",
      message: expect.stringContaining("none.pem") as string,
    });
  });
});
