import { rm } from "node:fs/promises";
import { afterAll, describe, test } from "vitest";
import { openChain } from "../../src/config/open.ts";
import { layer } from "../../src/chain/layer.ts";
import { conformance } from "../../src/testing/index.ts";
import { folderFor } from "./http/folder.ts";
import { runtime, serve, serveChain, storeOf } from "./http/world.ts";

const runner = { describe, test, afterAll };

/** The chain of a folder, behind a socket, opened again with the folder as it was. */
function opener(chain: string, deep: boolean) {
  return async () => {
    const base = await folderFor("http-chain");
    const closes: (() => Promise<void>)[] = [];
    const open = async () => {
      const served = await serveChain(await openChain(chain, { base, collectIntervalMs: 0 }));
      closes.push(() => served.close());
      const store = await storeOf(served);
      if (!deep) return { store, served };
      const near = await serve([layer(store)]);
      closes.push(() => near.close());
      return { store: await storeOf(near), served };
    };
    const closeAll = async () => {
      for (const close of closes.splice(0).toReversed()) await close();
    };
    const { store } = await open();
    return {
      store,
      runtime,
      reopen: async () => {
        await closeAll();
        return (await open()).store;
      },
      close: async () => {
        await closeAll();
        await rm(base, { recursive: true });
      },
    };
  };
}

conformance({
  name: "a node over the embedded chain",
  runner,
  open: opener("memory: lmdb:./.sync/cache git:./truth.git?create=true", false),
  // 10,000 keys in one batch of git have a test of their own.
  batchBound: 1_000,
  runs: 20,
});

conformance({
  name: "a node over lmdb, which takes streams",
  runner,
  open: opener("memory: lmdb:./store", false),
});

conformance({
  name: "a node over a node over lmdb",
  runner,
  open: opener("lmdb:./store", true),
  runs: 20,
});
