import { execFile } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, rmSync, statSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { randomBelow, sleep } from "../../src/runtime.ts";
import { systemRuntime } from "../../src/system.ts";

/** Programs that a server needs, and the Debian packages that bring them. */
export interface Need {
  readonly programs: readonly string[];
  readonly packages: readonly string[];
}

export const NEEDS = {
  git: { programs: ["git"], packages: ["git"] },
  gitLfs: { programs: ["git-lfs"], packages: ["git-lfs"] },
  etcd: { programs: ["etcd", "etcdctl"], packages: ["etcd-server", "etcd-client"] },
  postgres: { programs: ["initdb", "pg_ctl"], packages: ["postgresql"] },
  radosgw: {
    programs: ["radosgw", "radosgw-admin", "ceph-mon", "ceph-osd", "ceph", "monmaptool"],
    packages: ["radosgw", "ceph-mon", "ceph-osd", "ceph-mgr", "ceph-base"],
  },
  swift: {
    programs: [
      "swift-account-server",
      "swift-container-server",
      "swift-object-server",
      "swift-proxy-server",
      "memcached",
    ],
    packages: ["swift", "swift-proxy", "swift-account", "swift-container", "swift-object", "memcached"],
  },
} as const satisfies Readonly<Record<string, Need>>;

const run = promisify(execFile);
const LOCK = join(tmpdir(), "microsync-apt.lock");
/** A lock older than this was left behind by a test that was killed. */
const LOCK_STALE_MS = 600_000;
/** Debian keeps PostgreSQL's programs out of the PATH, a folder for each version. */
const POSTGRES = "/usr/lib/postgresql";

/** The path of a program; undefined when there is none. */
export function find(program: string): string | undefined {
  const debian = existsSync(POSTGRES) ? readdirSync(POSTGRES).sort((a, b) => Number(b) - Number(a)) : [];
  const folders = [
    ...debian.map((version) => join(POSTGRES, version, "bin")),
    ...(process.env["PATH"] ?? "").split(delimiter).filter((folder) => folder !== ""),
  ];
  return folders.map((folder) => join(folder, program)).find((path) => existsSync(path));
}

/** Those of its programs that are not there. */
export function missing({ programs }: Need): readonly string[] {
  return programs.filter((program) => find(program) === undefined);
}

/** Undefined when this process may install packages; otherwise why not. */
export function mayNotInstall(): string | undefined {
  if (find("apt-get") === undefined) return "there is no apt-get here";
  return process.getuid?.() === 0 ? undefined : "only root may install";
}

/** What a person has to type. */
export function installCommand(needs: readonly Need[]): string {
  const packages = [...new Set(needs.flatMap(({ packages }) => packages))];
  return `apt-get install -y --no-install-recommends ${packages.join(" ")}`;
}

/** Installs Debian packages unless all the programs are there. One process at a time. @throws when it cannot. */
export async function installed(need: Need): Promise<void> {
  while (missing(need).length > 0) {
    const reason = mayNotInstall();
    if (reason !== undefined) {
      throw new Error(`no ${missing(need).join(", ")}, and ${reason}: ${installCommand([need])}`);
    }
    if (!locked()) {
      await sleep(systemRuntime, 200);
      continue;
    }
    try {
      if (missing(need).length === 0) return;
      const options = ["-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=240"];
      const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
      const apt = (...args: string[]) => run("apt-get", args, { env, maxBuffer: 64 * 1024 * 1024 });
      const install = () => apt("install", ...options, ...need.packages);
      // A new machine has no list of packages yet.
      await install().catch(async () => {
        await apt("update");
        await install();
      });
      const left = missing(need);
      if (left.length > 0) throw new Error(`${need.packages.join(" ")} did not bring ${left.join(" ")}`);
    } finally {
      rmSync(LOCK, { recursive: true, force: true });
    }
  }
}

function locked(): boolean {
  try {
    mkdirSync(LOCK);
    return true;
  } catch {
    const made = statSync(LOCK, { throwIfNoEntry: false })?.mtimeMs ?? 0;
    if (made > 0 && systemRuntime.now() - made > LOCK_STALE_MS) rmSync(LOCK, { recursive: true, force: true });
    return false;
  }
}

/**
 * A port on loopback that nobody listens on, below those that systems give to outgoing connections: one of these could
 * be taken between now and its use.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = 10_000 + randomBelow(systemRuntime, 20_000);
    const server = createServer();
    const free = await new Promise<boolean>((resolve) => {
      server.once("error", () => resolve(false));
      server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
    });
    if (free) return port;
  }
}

/** Waits until `ready` is true. @throws after `patienceMs`, or when a process that is waited for has ended. */
export async function until(
  what: string,
  ready: () => Promise<boolean>,
  children: readonly ChildProcess[] = [],
  patienceMs = 60_000,
): Promise<void> {
  const end = systemRuntime.monotonic() + patienceMs;
  while (!(await ready().catch(() => false))) {
    if (children.some(({ exitCode }) => exitCode !== null)) throw new Error(`${what} ended`);
    if (systemRuntime.monotonic() > end) throw new Error(`${what} did not come up in ${patienceMs} ms`);
    await sleep(systemRuntime, 25);
  }
}

const STARTS_MAX = 3;

/** Starts a server; another time if that fails, since another process may have taken its port meanwhile. */
export async function started<T>(start: () => Promise<T>): Promise<T> {
  for (let starts = 1; ; starts++) {
    try {
      return await start();
    } catch (error) {
      if (starts === STARTS_MAX) throw error;
    }
  }
}

/** Whether a test that did not run must not look like one that passed. */
export function mustRun(): boolean {
  return (process.env["CI"] ?? "") !== "";
}

/** What a server's tests know of it: itself, or why it cannot be had, which is also said. Under CI it must be had. */
export async function reachable<T>(start: () => Promise<T>): Promise<{ server: T } | { missing: string }> {
  try {
    return { server: await started(start) };
  } catch (error) {
    if (mustRun()) throw error;
    const missing = error instanceof Error ? error.message : String(error);
    console.warn(`SKIPPED: tests on a real server: ${missing}`);
    return { missing };
  }
}
