import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { open } from "../../src/config/open.ts";
import { started } from "../../test/servers/apt.ts";
import { startEtcd } from "../../test/servers/etcd.ts";
import { gitServer } from "../../test/servers/git-server.ts";
import { startPostgres } from "../../test/servers/postgres.ts";
import type { Place } from "./paths.ts";

const GIT = "deadline=2m&watch=false";

/**
 * memory → lmdb → git, all of it in one folder, with a journal.
 * @param disk options of lmdb.
 */
export function embedded(base: string, memory = "memory:", disk = ""): Place {
  const through = (cache: string) => () =>
    open([memory, `lmdb:./${cache}${disk}`, `git:./truth.git?create=true&${GIT}`], {
      base,
      journal: "journal",
      collectIntervalMs: 0,
    });
  return {
    name: "embedded",
    is: "memory, lmdb, git; acknowledged by the journal, synced to disk",
    open: through("cache"),
    below: [
      { layer: "lmdb", open: through("cache") },
      { layer: "git", open: through("cold") },
    ],
    close: () => Promise.resolve(),
  };
}

/** memory → etcd → PostgreSQL → git over HTTP, with a journal. */
export async function full(base: string): Promise<Place> {
  const [etcd, postgres] = await Promise.all([started(startEtcd), started(startPostgres)]);
  execFileSync("git", ["init", "--quiet", "--bare", "--initial-branch=main", join(base, "remote.git")]);
  execFileSync("git", ["-C", join(base, "remote.git"), "config", "http.receivepack", "true"]);
  const host = await gitServer(base);
  const git = `git:${host.url}remote.git#main?${GIT}&cacheFolder=${encodeURIComponent(join(base, "mirror"))}`;
  const database = await postgres.database();
  const through = (prefix: string, table: string) => () =>
    open(
      [
        "memory:",
        `etcd://${etcd.endpoints}/${prefix}?role=cache&bytesMax=1gb`,
        `${table}?create=true&bootstrap=false`,
        git,
      ],
      { base, journal: "journal", collectIntervalMs: 0 },
    );
  const empty = await postgres.database();
  return {
    name: "full",
    is: "memory, etcd, PostgreSQL, git over HTTP; acknowledged by the journal, synced to disk",
    open: through("bench", database),
    below: [
      { layer: "etcd", open: through("bench", database) },
      { layer: "postgres", open: through("cold", database) },
      { layer: "git", open: through("colder", empty) },
    ],
    async close() {
      await etcd.close();
      postgres.close();
      await host.close();
    },
  };
}
