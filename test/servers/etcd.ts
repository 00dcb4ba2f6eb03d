import { spawn, spawnSync } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { get } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sleep } from "../../src/runtime.ts";
import { makeCertificates } from "./certificates.ts";
import type { Certificates } from "./certificates.ts";
import { systemRuntime } from "../../src/system.ts";
import { NEEDS, freePort, installed } from "./apt.ts";

/** One etcd member that a test started. */
export interface EtcdMember {
  readonly name: string;
  /** `host:port` for clients. */
  readonly endpoint: string;
  readonly pid: number;
  /** SIGSTOP and SIGCONT: a machine that hangs. */
  freeze(): void;
  thaw(): void;
  /** SIGKILL, and until it is gone. */
  kill(): Promise<void>;
  /** Starts it again on the same data and the same port. */
  restart(): Promise<void>;
  /** One of its metrics; 0 if it is not there. */
  metric(name: string): Promise<number>;
}

export interface EtcdCluster {
  /** With `tls`. */
  readonly pki: Certificates | undefined;
  readonly members: readonly EtcdMember[];
  /** All of them, as in a URL. */
  readonly endpoints: string;
  /** Runs etcdctl against the cluster. @returns what it wrote to standard output. */
  ctl(...args: string[]): string;
  /** Removes the data and starts anew, on the same ports. */
  wipe(): Promise<void>;
  /** A snapshot of a cluster of one member. @returns what `restore` takes. */
  backup(): string;
  /** Sets the cluster back to a snapshot: its ids and ports stay. */
  restore(backup: string): Promise<void>;
  close(): Promise<void>;
}

export interface EtcdClusterOptions {
  /** Default 1. */
  readonly members?: number;
  /** More arguments of each member, such as `--quota-backend-bytes`. */
  readonly args?: readonly string[];
  /** Arguments of etcdctl, such as a user. */
  readonly ctlArgs?: readonly string[];
  /** The members speak TLS to clients. */
  readonly tls?: boolean;
}

const READY_MS = 15_000;
const POLL_MS = 20;

/** Starts a cluster on loopback, in a folder of its own, and waits until it answers. */
export async function startEtcd(options: EtcdClusterOptions = {}): Promise<EtcdCluster> {
  const { members: count = 1, args = [], ctlArgs = [], tls = false } = options;
  await installed(NEEDS.etcd);
  const folder = mkdtempSync(join(tmpdir(), "microsync-etcd-"));
  const scheme = tls ? "https" : "http";
  const pki = tls ? makeCertificates(folder) : undefined;
  const names = Array.from({ length: count }, (_, i) => `n${i + 1}`);
  const ports = await Promise.all(
    names.map(async () => [await freePort(), await freePort(), await freePort()] as const),
  );
  const initial = names.map((name, i) => `${name}=http://127.0.0.1:${ports[i]?.[1]}`).join(",");
  const timing = count === 1 ? ["10", "100"] : ["20", "200"];

  const makeMember = (name: string, [client, peer, metrics]: readonly [number, number, number]) => {
    let child: ChildProcess | undefined;
    let gone: Promise<void> = Promise.resolve();
    const spawnIt = async () => {
      const flags: Readonly<Record<string, string>> = {
        name,
        "data-dir": join(folder, name),
        "log-level": "error",
        logger: "zap",
        "listen-client-urls": `${scheme}://127.0.0.1:${client}`,
        "advertise-client-urls": `${scheme}://127.0.0.1:${client}`,
        "listen-peer-urls": `http://127.0.0.1:${peer}`,
        "initial-advertise-peer-urls": `http://127.0.0.1:${peer}`,
        "listen-metrics-urls": `http://127.0.0.1:${metrics}`,
        "initial-cluster": initial,
        "heartbeat-interval": timing[0] ?? "",
        "election-timeout": timing[1] ?? "",
        ...(pki && { "cert-file": pki.serverCert, "key-file": pki.serverKey, "trusted-ca-file": pki.ca }),
      };
      const own = Object.entries(flags).map(([flag, value]) => `--${flag}=${value}`);
      child = spawn("etcd", [...own, ...args], { stdio: ["ignore", "ignore", "ignore"] });
      const started = child;
      gone = new Promise((resolve) => started.once("exit", () => resolve()));
    };
    const member = {
      name,
      endpoint: `127.0.0.1:${client}`,
      get pid() {
        return child?.pid ?? 0;
      },
      freeze: () => void child?.kill("SIGSTOP"),
      thaw: () => void child?.kill("SIGCONT"),
      async kill() {
        child?.kill("SIGKILL");
        await gone;
      },
      async metric(metric: string) {
        const line = (await page(metrics, "/metrics")).split("\n").find((text) => text.startsWith(`${metric} `));
        return Number(line?.split(" ")[1] ?? 0);
      },
      async restart() {
        await spawnIt();
        await healthy(metrics, () => child?.exitCode ?? null);
      },
    };
    return { member, spawnIt, ready: () => healthy(metrics, () => child?.exitCode ?? null) };
  };

  const made = names.map((name, i) => makeMember(name, ports[i] as readonly [number, number, number]));
  const startAll = async () => {
    await Promise.all(made.map(({ spawnIt }) => spawnIt()));
    await Promise.all(made.map(({ ready }) => ready()));
  };
  const killAll = () => Promise.all(made.map(({ member }) => member.kill()));
  try {
    await startAll();
  } catch (error) {
    await killAll();
    rmSync(folder, { recursive: true, force: true });
    throw error;
  }
  const members = made.map(({ member }) => member);
  const cluster: EtcdCluster = {
    pki,
    members,
    endpoints: members.map(({ endpoint }) => endpoint).join(","),
    ctl(...command) {
      const endpoints = members.map(({ endpoint }) => `${scheme}://${endpoint}`).join(",");
      const trust = pki === undefined ? [] : ["--cacert", pki.ca, "--cert", pki.clientCert, "--key", pki.clientKey];
      const all = ["--endpoints", endpoints, ...trust, ...ctlArgs, ...command];
      const { status, stdout, stderr } = spawnSync("etcdctl", all, {
        encoding: "utf8",
        env: { PATH: process.env["PATH"], ETCDCTL_API: "3" },
        maxBuffer: 64 * 1024 * 1024,
      });
      if (status !== 0) throw new Error(`etcdctl ${command.join(" ")}: ${stderr}`);
      return stdout;
    },
    async wipe() {
      await killAll();
      for (const name of names) rmSync(join(folder, name), { recursive: true, force: true });
      await startAll();
    },
    backup() {
      const path = join(folder, "backup.db");
      cluster.ctl("snapshot", "save", path);
      return path;
    },
    async restore(backup) {
      const [name = ""] = names;
      await killAll();
      rmSync(join(folder, name), { recursive: true, force: true });
      const peer = `http://127.0.0.1:${ports[0]?.[1]}`;
      const where = ["--name", name, "--data-dir", join(folder, name), "--initial-cluster", initial];
      cluster.ctl("snapshot", "restore", backup, ...where, "--initial-advertise-peer-urls", peer);
      await startAll();
    },
    async close() {
      await killAll();
      rmSync(folder, { recursive: true, force: true });
    },
  };
  return cluster;
}

async function healthy(port: number, exitCode: () => number | null): Promise<void> {
  const until = performance.now() + READY_MS;
  for (;;) {
    if (await isHealthy(port)) return;
    const code = exitCode();
    if (code !== null) throw new Error(`etcd ended with ${code}`);
    if (performance.now() > until) throw new Error(`etcd is not ready after ${READY_MS} ms`);
    await sleep(systemRuntime, POLL_MS);
  }
}

async function isHealthy(port: number): Promise<boolean> {
  return (await page(port, "/health")).includes('"true"');
}

/** Empty when there is no answer. */
function page(port: number, path: string): Promise<string> {
  return new Promise((resolve) => {
    const request = get({ host: "127.0.0.1", port, path, timeout: 1000 }, (response) => {
      let body = "";
      response.setEncoding("utf8").on("data", (part: string) => (body += part));
      response.on("end", () => resolve(body));
    });
    request.on("error", () => resolve(""));
    request.on("timeout", () => request.destroy());
  });
}
