import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, rmdirSync } from "node:fs";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client } from "pg";

/**
 * A PostgreSQL of a test's own: real, on a free port of loopback, its data in a temporary folder that goes with it.
 * Where there is none and none can be installed, tests are skipped aloud; under CI they fail.
 */
export interface PostgresServer {
  readonly port: number;
  readonly folder: string;
  /** The URL of a database; default `postgres`. */
  url(database?: string, user?: string): string;
  /** Creates an empty database and gives its URL. */
  database(): Promise<string>;
  /** One statement by another client than the store's. */
  query(text: string, values?: readonly unknown[], database?: string): Promise<Record<string, unknown>[]>;
  /** How many sessions clients have open, past those of `query`. */
  sessions(filter?: string): Promise<number>;
  start(): void;
  /** "immediate" is a crash: nothing is written, the next start recovers. */
  stop(mode?: "fast" | "immediate"): void;
  /** Puts a copy of the data folder in its place; the server must be stopped. */
  restore(copy: string): void;
  close(): void;
}

export interface PostgresOptions {
  /** Lines of postgresql.conf, as `-c name=value`. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Where the folder is made. Default: the system's for temporary ones. */
  readonly parent?: string;
  /** Run when the data folder is there and the server is not: certificates, pg_hba.conf. */
  readonly prepare?: (folder: string) => void;
}

const USER = "sync";
const isRoot = process.getuid?.() === 0;

/** Undefined when no server can be had, which has then been said. @throws under CI. */
export async function postgresServer(options: PostgresOptions = {}): Promise<PostgresServer | undefined> {
  const bin = binaries();
  if (bin === undefined) {
    const reason = "no PostgreSQL (initdb, pg_ctl) is installed, and it could not be installed";
    if (process.env["CI"] !== undefined) throw new Error(reason);
    console.warn(`skipped: ${reason}`);
    return undefined;
  }
  const folder = mkdtempSync(join(options.parent ?? tmpdir(), "microsync-postgres-"));
  chmodSync(folder, 0o755);
  const data = join(folder, "data");
  mkdirSync(data, { mode: 0o700 });
  if (isRoot) must("chown", ["postgres", data]);
  const as = (program: string, ...args: string[]) => {
    const path = join(bin, program);
    return isRoot ? must("runuser", ["-u", "postgres", "--", path, ...args]) : must(path, args);
  };
  as("initdb", "-D", data, "-U", USER, "-A", "trust", "-N", "--no-locale", "-E", "UTF8");
  options.prepare?.(data);
  const port = await freePort();
  const settings = {
    listen_addresses: "127.0.0.1",
    port: String(port),
    unix_socket_directories: data,
    max_connections: "60",
    log_min_messages: "fatal",
    ...options.settings,
  };
  const flags = Object.entries(settings).map(([name, value]) => `-c ${name}=${value}`);
  let databases = 0;

  const server: PostgresServer = {
    port,
    folder: data,
    url: (database = "postgres", user = USER) => `postgres://${user}@127.0.0.1:${port}/${database}`,
    async database() {
      const name = `db${databases++}`;
      await server.query(`CREATE DATABASE ${name}`);
      return server.url(name);
    },
    async query(text, values = [], database = "postgres") {
      const client = new Client({ host: "127.0.0.1", port, user: USER, database, application_name: "test" });
      await client.connect();
      try {
        return (await client.query<Record<string, unknown>>(text, [...values])).rows;
      } finally {
        await client.end();
      }
    },
    async sessions(filter = "true") {
      const text = `SELECT count(*)::int AS n FROM pg_stat_activity
        WHERE backend_type = 'client backend' AND application_name <> 'test' AND ${filter}`;
      return Number((await server.query(text))[0]?.["n"]);
    },
    start: () => void as("pg_ctl", "-D", data, "-w", "-l", join(data, "log"), "-o", flags.join(" "), "start"),
    stop: (mode = "fast") => void as("pg_ctl", "-D", data, "-w", "-m", mode, "stop"),
    restore(copy) {
      rmSync(data, { recursive: true });
      must("cp", ["-a", copy, data]);
      if (isRoot) must("chown", ["-R", "postgres", data]);
      chmodSync(data, 0o700);
    },
    close() {
      if (existsSync(join(data, "postmaster.pid"))) server.stop("immediate");
      rmSync(folder, { recursive: true, force: true });
    },
  };
  server.start();
  return server;
}

export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once("error", reject);
    probe.listen(0, "127.0.0.1", () => {
      const { port } = probe.address() as AddressInfo;
      probe.close(() => resolve(port));
    });
  });
}

/** The folder of initdb and pg_ctl; installs them where that is allowed. */
function binaries(): string | undefined {
  const found = findBinaries();
  if (found !== undefined || !isRoot || spawnSync("apt-get", ["--version"]).status !== 0) return found;
  alone(() => {
    if (findBinaries() !== undefined) return;
    spawnSync("apt-get", ["update"]);
    spawnSync("apt-get", ["install", "-y", "--no-install-recommends", "postgresql"], { stdio: "ignore" });
  });
  return findBinaries();
}

function findBinaries(): string | undefined {
  const versions = "/usr/lib/postgresql";
  const debian = existsSync(versions) ? readdirSync(versions).sort((a, b) => Number(b) - Number(a)) : [];
  const folders = [
    ...debian.map((version) => join(versions, version, "bin")),
    ...(process.env["PATH"] ?? "").split(":"),
  ];
  return folders.find((folder) => existsSync(join(folder, "initdb")) && existsSync(join(folder, "pg_ctl")));
}

/** Two test processes must not install at once: making a folder is the lock. */
function alone(work: () => void): void {
  const lock = join(tmpdir(), "microsync-install-lock");
  for (let tries = 0; tries < 600; tries++) {
    try {
      mkdirSync(lock);
      break;
    } catch {
      spawnSync("sleep", ["0.2"]);
    }
  }
  try {
    work();
  } finally {
    if (existsSync(lock)) rmdirSync(lock);
  }
}

function must(command: string, args: readonly string[]): string {
  // pg_ctl's server would hold pipes open: its output goes nowhere.
  const { status, stderr, error } = spawnSync(command, args, {
    encoding: "utf8",
    stdio: ["ignore", "ignore", "pipe"],
    timeout: 60_000,
  });
  if (status !== 0) throw new Error(`${command} ${args.join(" ")} failed: ${error?.message ?? stderr}`);
  return "";
}
