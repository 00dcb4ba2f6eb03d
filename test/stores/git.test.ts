import { afterAll, describe, test } from "vitest";
import { systemRuntime } from "../../src/system.ts";
import { conformance } from "../../src/testing/index.ts";
import type { Scratch } from "./git/place.ts";
import { scratch } from "./git/place.ts";
import { gitServer } from "../servers/git-server.ts";

/** Every way to a repository is held to the whole suite. */
interface Way {
  readonly name: string;
  readonly url: (place: Scratch) => Promise<{ url: string; close?: () => Promise<void> }>;
  readonly mirror: boolean;
}

function bare(place: Scratch, name: string): void {
  place.run("", ["init", "--quiet", "--bare", "--initial-branch=main", name]);
}

const WAYS: readonly Way[] = [
  {
    name: "git in a bare repository",
    mirror: false,
    url: (place) => {
      bare(place, "truth.git");
      return Promise.resolve({ url: "git:./truth.git#main" });
    },
  },
  {
    name: "git over a file URL, under a prefix of a branch that others use too",
    mirror: true,
    url: (place) => {
      bare(place, "truth.git");
      place.run("", ["clone", "--quiet", "truth.git", "work"]);
      place.run("work", ["checkout", "--quiet", "-b", "data"]);
      place.run("work", ["commit", "--quiet", "--allow-empty", "-m", "first"]);
      place.run("work", ["push", "--quiet", "origin", "data"]);
      return Promise.resolve({ url: `git:file://${place.path("truth.git")}#data:some/where` });
    },
  },
  {
    name: "git over HTTP",
    mirror: true,
    url: async (place) => {
      bare(place, "truth.git");
      place.run("truth.git", ["config", "http.receivepack", "true"]);
      const server = await gitServer(place.folder);
      return { url: `git:${server.url}truth.git#main`, close: () => server.close() };
    },
  },
];

for (const { name, url: prepare, mirror } of WAYS) {
  conformance({
    name,
    runner: { describe, test, afterAll },
    mirror,
    // 10,000 keys in one batch have a test of their own; every call of a mirror is a push.
    batchBound: mirror ? 200 : 1_000,
    runs: mirror ? 10 : 50,
    open: async () => {
      const place = scratch();
      const { url, close } = await prepare(place);
      const open = () => place.open(url);
      return {
        store: await open(),
        runtime: systemRuntime,
        reopen: open,
        close: async () => {
          await place.remove();
          await close?.();
        },
      };
    },
  });
}
