import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client } from "pg";
import { NEEDS, find, freePort, installed, mustRun } from "./apt.ts";

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
  try {
    await installed(NEEDS.postgres);
  } catch (error) {
    if (mustRun()) throw error;
    console.warn(`SKIPPED: the tests on a real PostgreSQL: ${error instanceof Error ? error.message : String(error)}`);
    return undefined;
  }
  return startPostgres(options);
}

/** @throws when it cannot be had. */
export async function startPostgres(options: PostgresOptions = {}): Promise<PostgresServer> {
  await installed(NEEDS.postgres);
  const folder = mkdtempSync(join(options.parent ?? tmpdir(), "microsync-postgres-"));
  chmodSync(folder, 0o755);
  const data = join(folder, "data");
  mkdirSync(data, { mode: 0o700 });
  if (isRoot) must("chown", ["postgres", data]);
  const as = (program: string, ...args: string[]) => {
    const path = find(program) ?? program;
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
