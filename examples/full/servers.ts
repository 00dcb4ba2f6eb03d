import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { started } from "../../test/servers/apt.ts";
import type { EtcdCluster } from "../../test/servers/etcd.ts";
import { startEtcd } from "../../test/servers/etcd.ts";
import { gitServer } from "../../test/servers/git-server.ts";
import { githubServer } from "../../test/servers/github.ts";
import { startPostgres } from "../../test/servers/postgres.ts";
import { radosgw } from "../../test/servers/radosgw.ts";
import type { Radosgw } from "../../test/servers/radosgw.ts";
import { timed } from "../start/durations.ts";

/** A server that can be killed, as a crash does it, and brought back on the same data and port. */
export interface Mortal {
  /** For a person. */
  readonly name: string;
  readonly version: string;
  /** From nothing to its first answer. */
  readonly readyMs: number;
  kill(): Promise<void> | void;
  restart(): Promise<void> | void;
}

export interface Servers {
  readonly etcd: Mortal & { readonly cluster: EtcdCluster };
  readonly postgres: Mortal & { readonly url: string };
  readonly s3: Mortal & { readonly gateway: Radosgw };
  readonly git: Mortal & GitHost;
}

export interface GitHost {
  /** The bare repository on the server's side. */
  readonly bare: string;
  /** What a person clones. */
  readonly remote: string;
  /** With the GitHub stand-in: its API. */
  readonly api: string | undefined;
}

export const BRANCH = "main";
export const OWNER = "octo";
export const REPOSITORY = "truth";
/** The stand-in takes this one and no other; it opens nothing anywhere else. */
export const TOKEN = "tok_octo";

/** What stops a server and removes its folder. */
type Stop = () => Promise<void> | void;

/** Everything that was begun, so that it can be stopped at any moment, also in the middle of a start. */
export class Running {
  readonly #begun: Promise<Stop>[] = [];

  async begin<T extends object>(start: () => Promise<T & { readonly stop: Stop }>): Promise<T> {
    const starting = start();
    this.#begun.push(starting.then(({ stop }) => stop));
    return starting;
  }

  /** Stops all, also those that are still starting. A start that failed has cleaned up after itself. */
  async stop(): Promise<void> {
    const begun = await Promise.allSettled(this.#begun);
    const stopped = begun.map(async (outcome) => (outcome.status === "fulfilled" ? outcome.value() : undefined));
    const failed = (await Promise.allSettled(stopped)).filter(({ status }) => status === "rejected");
    const reasons = failed.map((outcome) => (outcome.status === "rejected" ? (outcome.reason as unknown) : undefined));
    if (reasons.length > 0) throw new AggregateError(reasons, `a server could not be stopped: ${String(reasons[0])}`);
  }
}

/** Starts all four at once. `folder` gets the repository. */
export async function startServers(running: Running, folder: string, github: boolean): Promise<Servers> {
  const git = github ? startGithub : startGit;
  const [etcd, postgres, s3, host] = await Promise.all([
    running.begin(startOneEtcd),
    running.begin(startOnePostgres),
    running.begin(startGateway),
    running.begin(() => git(folder)),
  ]);
  return { etcd, postgres, s3, git: host };
}

async function startOneEtcd() {
  const [cluster, readyMs] = await timed(() => started(startEtcd));
  const [member] = cluster.members;
  if (member === undefined) throw new Error("etcd has no member");
  return {
    name: "etcd",
    version: versionIn(said("etcd", "--version")),
    readyMs,
    cluster,
    kill: () => member.kill(),
    restart: () => member.restart(),
    stop: () => cluster.close(),
  };
}

async function startOnePostgres() {
  const [server, readyMs] = await timed(() => started(startPostgres));
  const [row] = await server.query("SHOW server_version");
  return {
    name: "PostgreSQL",
    version: versionIn(String(row?.["server_version"])),
    readyMs,
    url: await server.database(),
    kill: () => server.stop("immediate"),
    restart: () => server.start(),
    stop: () => server.close(),
  };
}

async function startGateway() {
  const [gateway, readyMs] = await timed(() => started(radosgw));
  return {
    name: "Ceph object gateway",
    version: versionIn(said("radosgw", "--version")),
    readyMs,
    gateway,
    kill: () => gateway.kill(),
    restart: () => gateway.restart(),
    stop: () => gateway.stop(),
  };
}

/** Git's own smart HTTP server, behind a bridge in this process. */
async function startGit(folder: string): Promise<Mortal & GitHost & { readonly stop: Stop }> {
  const bare = join(folder, `${REPOSITORY}.git`);
  execFileSync("git", ["init", "--quiet", "--bare", `--initial-branch=${BRANCH}`, bare]);
  execFileSync("git", ["-C", bare, "config", "http.receivepack", "true"]);
  const [server, readyMs] = await timed(() => gitServer(folder));
  return {
    name: "git over HTTP",
    version: versionIn(said("git", "--version")),
    readyMs,
    bare,
    remote: `${server.url}${REPOSITORY}.git`,
    api: undefined,
    kill: () => server.close(),
    restart: () => server.listen(),
    stop: () => server.close(),
  };
}

/** A stand-in for GitHub, in this process: its REST, its GraphQL and git's own HTTP over one repository. */
async function startGithub(folder: string): Promise<Mortal & GitHost & { readonly stop: Stop }> {
  const [server, readyMs] = await timed(() => githubServer(folder));
  const bare = server.create(OWNER, REPOSITORY, BRANCH);
  return {
    name: "stand-in for GitHub",
    version: versionIn(said("git", "--version")),
    readyMs,
    bare,
    remote: `${server.api}/${OWNER}/${REPOSITORY}.git`,
    api: server.api,
    kill: () => server.stop(),
    restart: () => server.restart(),
    stop: () => server.close(),
  };
}

function said(program: string, ...args: readonly string[]): string {
  return execFileSync(program, args, { encoding: "utf8" });
}

function versionIn(text: string): string {
  return /\d+(?:\.\d+)+/.exec(text)?.[0] ?? text.trim();
}
