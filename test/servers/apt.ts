import { execFile } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { existsSync, mkdirSync, rmSync, statSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { randomBelow, sleep } from "../../src/runtime.ts";
import { systemRuntime } from "../../src/system.ts";

const run = promisify(execFile);
const LOCK = join(tmpdir(), "microsync-apt.lock");
/** A lock older than this was left behind by a test that was killed. */
const LOCK_STALE_MS = 300_000;

/** Installs Debian packages unless all the programs are there. One test worker at a time. @throws when it cannot. */
export async function installed(programs: readonly string[], packages: readonly string[]): Promise<void> {
  const missing = () => programs.filter((program) => !existsSync(program));
  while (missing().length > 0) {
    if (!locked()) {
      await sleep(systemRuntime, 200);
      continue;
    }
    try {
      if (missing().length === 0) return;
      const options = ["-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=240"];
      const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
      const install = () => run("apt-get", ["install", ...options, ...packages], { env, maxBuffer: 64 * 1024 * 1024 });
      // A new machine has no list of packages yet.
      await install().catch(async () => {
        await run("apt-get", ["update"], { env, maxBuffer: 64 * 1024 * 1024 });
        await install();
      });
      if (missing().length > 0) throw new Error(`${packages.join(" ")} did not bring ${missing().join(" ")}`);
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

/** What a server's tests know of it: itself, or why it cannot be had. Under CI it must be had. */
export async function reachable<T>(start: () => Promise<T>): Promise<{ server: T } | { missing: string }> {
  for (let starts = 1; ; starts++) {
    try {
      return { server: await start() };
    } catch (error) {
      if (starts < STARTS_MAX) continue; // another process may have taken its port
      if (process.env["CI"] !== undefined) throw error;
      return { missing: error instanceof Error ? error.message : String(error) };
    }
  }
}
