import { execFile } from "node:child_process";
import { existsSync, mkdirSync, rmSync, statSync } from "node:fs";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { sleep } from "../../src/runtime.ts";
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
      await run("apt-get", ["install", ...options, ...packages], { env, maxBuffer: 64 * 1024 * 1024 });
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

/** A port on loopback that nobody listens on. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Waits until `ready` is true. @throws after `patienceMs`, saying what was waited for. */
export async function until(what: string, ready: () => Promise<boolean>, patienceMs = 60_000): Promise<void> {
  const end = systemRuntime.monotonic() + patienceMs;
  while (!(await ready().catch(() => false))) {
    if (systemRuntime.monotonic() > end) throw new Error(`${what} did not come up in ${patienceMs} ms`);
    await sleep(systemRuntime, 25);
  }
}

/** What a server's tests know of it: itself, or why it cannot be had. Under CI it must be had. */
export async function reachable<T>(start: () => Promise<T>): Promise<{ server: T } | { missing: string }> {
  try {
    return { server: await start() };
  } catch (error) {
    if (process.env["CI"] !== undefined) throw error;
    return { missing: error instanceof Error ? error.message : String(error) };
  }
}
