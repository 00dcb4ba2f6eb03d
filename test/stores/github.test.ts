import { execFileSync } from "node:child_process";
import { afterAll, describe, test } from "vitest";
import { systemRuntime } from "../../src/system.ts";
import { conformance } from "../../src/testing/index.ts";
import { lfsServer } from "../servers/lfs.ts";
import { githubWorld } from "./github/world.ts";
import type { GithubWorld } from "./github/world.ts";

/** The whole suite against the test server, by both of GitHub's interfaces. */
const WAYS: readonly { name: string; url: string; prepare: (world: GithubWorld) => void }[] = [
  { name: "github", url: "github:octo/store#main", prepare: () => {} },
  {
    name: "github under a prefix of a branch that others use too",
    url: "github:octo/store#data:some/where",
    prepare: ({ bare }) => {
      const tree = execFileSync("git", ["-C", bare, "mktree"], { input: "" }).toString().trim();
      const by = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"];
      const made = execFileSync("git", ["-C", bare, ...by, "commit-tree", tree, "-m", "first"])
        .toString()
        .trim();
      execFileSync("git", ["-C", bare, "update-ref", "refs/heads/data", made]);
    },
  },
  {
    name: "github without GraphQL",
    url: "github:octo/store#main",
    prepare: ({ server }) => {
      server.hasGraphql = false;
    },
  },
];

for (const { name, url, prepare } of WAYS) {
  conformance({
    name,
    runner: { describe, test, afterAll },
    mirror: true,
    batchBound: 100,
    runs: 10,
    valueBytesBound: 1024 * 1024,
    open: async () => {
      const world = await githubWorld();
      prepare(world);
      const lfs = await lfsServer();
      const open = () => world.open(url, { lfsUrl: lfs.url });
      const close = async () => {
        await world.close();
        await lfs.close();
      };
      return { store: await open(), runtime: systemRuntime, reopen: open, close };
    },
  });
}
