import { execFile, spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdirSync, mkdtempSync, openSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { NEEDS, freePort, installed, started, until } from "./apt.ts";
import { makeCertificates } from "./certificates.ts";

/** Ceph's object gateway with a cluster of one, everything in memory. */
export interface Radosgw {
  readonly url: string;
  readonly port: number;
  /** The same over TLS, with a certificate that the authority of {@link ca} signed, a file. */
  readonly secureUrl: string;
  readonly ca: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** `radosgw-admin` with these arguments. @returns what it printed. */
  admin(...args: string[]): Promise<string>;
  /** Ends the gateway at once, as a crash does; the data stays. */
  kill(): Promise<void>;
  /** Starts the gateway again, on the same port. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

const run = promisify(execFile);
const HOST = "127.0.0.1";
export const KEYS = { accessKeyId: "AKSYNC", secretAccessKey: "SKSYNC" };

export async function radosgw(): Promise<Radosgw> {
  await installed(NEEDS.radosgw);
  const folder = mkdtempSync(join(tmpdir(), "microsync-radosgw-"));
  const [monitor, port, secure] = [await freePort(), await freePort(), await freePort()];
  const pki = makeCertificates(folder);
  const certificate = join(folder, "door.pem");
  writeFileSync(certificate, readFileSync(pki.serverCert, "utf8") + readFileSync(pki.serverKey, "utf8"));
  const doors = `endpoint=${HOST}:${port} ssl_endpoint=${HOST}:${secure} ssl_certificate=${certificate}`;
  for (const name of ["mon", "osd", "run", "log", "rgw"]) mkdirSync(join(folder, name));
  const config = join(folder, "ceph.conf");
  const cluster = randomUUID();
  writeFileSync(config, configuration(folder, cluster, monitor, doors));
  const children: ChildProcess[] = [];
  const start = (program: string, ...args: string[]) => {
    const log = openSync(join(folder, "log", `${program}.out`), "a");
    const child = spawn(program, [...args, "-c", config, "-f"], { stdio: ["ignore", log, log] });
    children.push(child);
    return child;
  };
  const ceph = (...args: string[]) => run("ceph", ["-c", config, "--connect-timeout", "20", ...args]);
  const url = `http://${HOST}:${port}`;
  const gateway = async () => {
    const child = start("radosgw", "-n", "client.rgw");
    await until("radosgw", async () => (await fetch(url)).status < 500, [child]);
    return child;
  };
  /** A monitor that has just come up refuses who comes early ("wrong fsid"), and the disk ends: then it is started again. */
  const osd = async () => {
    const child = start("ceph-osd", "-i", "0");
    await until("ceph-osd", async () => (await ceph("osd", "stat")).stdout.includes(" 1 up"), [child]);
  };
  const stop = async () => {
    await Promise.all(children.map((child) => killed(child)));
    rmSync(folder, { recursive: true, force: true });
  };

  try {
    const map = join(folder, "monmap");
    await run("monmaptool", ["--create", "--addv", "m", `[v1:${HOST}:${monitor}]`, "--fsid", cluster, map]);
    await run("ceph-mon", ["--mkfs", "-i", "m", "--monmap", map, "-c", config]);
    start("ceph-mon", "-i", "m");
    // Another cluster's monitor may have taken the port, and would answer too.
    await until("ceph-mon", async () => (await ceph("fsid")).stdout.trim() === cluster, children);
    const disk = randomUUID();
    await started(() => ceph("osd", "new", disk));
    await run("ceph-osd", ["-i", "0", "--mkfs", "--osd-uuid", disk, "-c", config]);
    await started(osd);
    let current = await gateway();
    const admin = async (...args: string[]) =>
      (await run("radosgw-admin", ["-c", config, "-n", "client.rgw", ...args])).stdout;
    const keys = ["--access-key", KEYS.accessKeyId, "--secret-key", KEYS.secretAccessKey];
    await admin("user", "create", "--uid", "sync", "--display-name", "sync", ...keys);
    return {
      url,
      port,
      secureUrl: `https://${HOST}:${secure}`,
      ca: pki.ca,
      ...KEYS,
      admin,
      kill: () => killed(current),
      restart: async () => {
        current = await gateway();
      },
      stop,
    };
  } catch (error) {
    const said = readdirSync(join(folder, "log"))
      .filter((name) => name.endsWith(".out"))
      .map((name) => readFileSync(join(folder, "log", name), "utf8").slice(-300));
    await stop();
    throw new Error(`radosgw did not start: ${String(error)} ${said.join(" ")}`, { cause: error });
  }
}

async function killed(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGKILL");
  await gone;
}

function configuration(folder: string, cluster: string, monitor: number, doors: string): string {
  return `[global]
fsid = ${cluster}
mon_host = v1:${HOST}:${monitor}
public_network = 127.0.0.0/8
cluster_network = 127.0.0.0/8
public_addr = ${HOST}
cluster_addr = ${HOST}
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
auth_allow_insecure_global_id_reclaim = true
ms_bind_msgr2 = false
ms_bind_ipv6 = false
run_dir = ${folder}/run
pid_file = ${folder}/run/$name.pid
admin_socket = ${folder}/run/$name.$pid.asok
log_file = ${folder}/log/$name.log
keyring = ${folder}/keyring
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pgp_num = 4
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_warn_on_pool_no_redundancy = false
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 1000
mon_data = ${folder}/mon
mon_data_avail_crit = 1
mon_data_avail_warn = 1
paxos_propose_interval = 0.02
mon_pg_warn_min_per_osd = 0
osd_data = ${folder}/osd
osd_objectstore = memstore
memstore_device_bytes = 2147483648
osd_class_load_list = *
osd_class_default_list = *
rgw_data = ${folder}/rgw
rgw_frontends = beast ${doors} tcp_nodelay=1
rgw_dns_name = localhost
rgw_enable_usage_log = false
rgw_run_sync_thread = false
rgw_cache_enabled = true
rgw_thread_pool_size = 32
rgw_max_chunk_size = 4194304
rgw_bucket_quota_ttl = 0
rgw_user_quota_bucket_sync_interval = 1
`;
}
