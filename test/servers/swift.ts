import { execFile, spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { mkdirSync, mkdtempSync, openSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { NEEDS, freePort, installed, until } from "./apt.ts";

/** OpenStack Swift with its S3 door: an S3 that answers 501 to every conditional PUT. */
export interface Swift {
  readonly url: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  stop(): Promise<void>;
}

const run = promisify(execFile);
const HOST = "127.0.0.1";
const SERVERS = ["account", "container", "object"] as const;

const RINGS = `
import sys
from swift.common.ring import RingBuilder
folder, host = sys.argv[1], sys.argv[2]
for name, port in zip(("account", "container", "object"), sys.argv[3:]):
    ring = RingBuilder(2, 1, 0)
    ring.add_dev({"region": 1, "zone": 1, "ip": host, "port": int(port), "device": "d1", "weight": 1.0,
                  "replication_ip": host, "replication_port": int(port)})
    ring.rebalance()
    ring.get_ring().save(f"{folder}/{name}.ring.gz")
`;

export async function swift(): Promise<Swift> {
  await installed(NEEDS.swift);
  const folder = mkdtempSync(join(tmpdir(), "microsync-swift-"));
  const ports = [await freePort(), await freePort(), await freePort()];
  const [door, cache] = [await freePort(), await freePort()];
  for (const name of ["data/d1", "log", "etc"]) mkdirSync(join(folder, name), { recursive: true });
  const children: ChildProcess[] = [];
  const start = (name: string, config: string) => {
    const path = join(folder, "etc", `${name}.conf`);
    writeFileSync(path, config);
    const log = openSync(join(folder, "log", name), "a");
    children.push(spawn(`/usr/bin/swift-${name}-server`, [path, "-v"], { stdio: ["ignore", log, log] }));
  };
  const stop = async () => {
    await Promise.all(children.map((child) => killed(child)));
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    await run("/usr/bin/python3", ["-c", RINGS, join(folder, "etc"), HOST, ...ports.map(String)]);
    const remembering = ["-u", "root", "-l", HOST, "-p", String(cache), "-U", "0", "-m", "16"];
    children.push(spawn("/usr/bin/memcached", remembering, { stdio: "ignore" }));
    for (const [i, name] of SERVERS.entries()) start(name, storage(folder, name, ports[i] ?? 0));
    start("proxy", proxy(folder, door, cache));
    const url = `http://${HOST}:${door}`;
    for (const port of [...ports, door]) {
      await until("swift", async () => (await fetch(`http://${HOST}:${port}/healthcheck`)).status < 600, children);
    }
    return { url, accessKeyId: "sync:sync", secretAccessKey: "SKSYNC", stop };
  } catch (error) {
    const said = readdirSync(join(folder, "log")).map((name) =>
      readFileSync(join(folder, "log", name), "utf8").slice(-300),
    );
    await stop();
    throw new Error(`swift did not start: ${String(error)} ${said.join(" ")}`, { cause: error });
  }
}

async function killed(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGKILL");
  await gone;
}

function common(folder: string, port: number): string {
  return `[DEFAULT]
bind_ip = ${HOST}
bind_port = ${port}
swift_dir = ${folder}/etc
devices = ${folder}/data
mount_check = false
user = root
workers = 0
log_level = ERROR
disable_fallocate = true
`;
}

function storage(folder: string, name: string, port: number): string {
  return `${common(folder, port)}
[pipeline:main]
pipeline = ${name}-server
[app:${name}-server]
use = egg:swift#${name}
`;
}

function proxy(folder: string, port: number, cache: number): string {
  return `${common(folder, port)}
[pipeline:main]
pipeline = catch_errors cache s3api tempauth bulk copy slo dlo versioned_writes symlink proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
allow_account_management = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:cache]
use = egg:swift#memcache
memcache_servers = ${HOST}:${cache}
[filter:s3api]
use = egg:swift#s3api
s3_acl = false
location = us-east-1
min_segment_size = 5242880
[filter:tempauth]
use = egg:swift#tempauth
user_sync_sync = SKSYNC .admin
[filter:bulk]
use = egg:swift#bulk
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_object_versioning = true
[filter:symlink]
use = egg:swift#symlink
`;
}
