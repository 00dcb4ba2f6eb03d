import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import type { ConnectionOptions } from "node:tls";
import type { ClientConfig } from "pg";
import { SyncError } from "../../error.ts";

/** Where a database is, from its URL. */
export interface Target {
  readonly scheme: "postgres" | "cockroach";
  readonly config: ClientConfig;
}

/** The standard options of a connection URL that are taken. Whatever it leaves out comes from PG* and ~/.pgpass. */
export const CONNECTION_OPTIONS = ["host", "sslmode", "sslrootcert", "sslcert", "sslkey", "application_name"] as const;

const MODES = ["disable", "require", "verify-ca", "verify-full"];
const DEFAULT_PORT = { postgres: 5432, cockroach: 26257 };

/**
 * Reads `postgres://user:password@host:port/database?option=value`, also with `postgresql:` or `cockroach:`.
 * @param folder What the paths of certificates are relative to.
 * @throws SyncError INVALID, which quotes nothing of the URL: it may hold a password.
 */
export function parseSqlUrl(text: string, folder: string): Target {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const scheme = url === undefined ? undefined : schemeOf(url.protocol);
  if (url === undefined || scheme === undefined) {
    throw invalid(
      "the URL of the database is malformed",
      "write postgres://user@host:5432/database, with %40 for @ in a password",
    );
  }
  const options = new Map<string, string>();
  for (const [name, value] of url.searchParams) {
    const known = CONNECTION_OPTIONS.some((option) => option === name);
    if (!known || options.has(name)) {
      const what = known ? `option ${name} is given twice` : `there is no option ${JSON.stringify(name.slice(0, 40))}`;
      throw invalid(what, `a database's URL takes ${CONNECTION_OPTIONS.join(", ")}`);
    }
    options.set(name, value);
  }
  const host = options.get("host") ?? url.hostname.replace(/^\[|\]$/g, "");
  const fallback = process.env["PGPORT"] === undefined ? DEFAULT_PORT[scheme] : Number(process.env["PGPORT"]);
  const given: Record<string, string | undefined> = {
    user: decoded(url.username),
    password: decoded(url.password),
    database: decoded(url.pathname.slice(1)),
    host,
  };
  const config: ClientConfig = {
    ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined && value !== "")),
    port: url.port === "" ? fallback : Number(url.port),
    application_name: options.get("application_name") ?? "microsync",
  };
  const ssl = sslOf(options, host, folder);
  return { scheme, config: ssl === undefined ? config : { ...config, ssl } };
}

function schemeOf(protocol: string): Target["scheme"] | undefined {
  if (protocol === "postgres:" || protocol === "postgresql:") return "postgres";
  return protocol === "cockroach:" ? "cockroach" : undefined;
}

/**
 * As libpq reads sslmode: `require` encrypts, and checks the certificate if an authority is named; `verify-ca` checks
 * it; `verify-full` checks the host's name too. Undefined: as PGSSLMODE says, else no TLS.
 */
function sslOf(options: ReadonlyMap<string, string>, host: string, folder: string): ClientConfig["ssl"] {
  const mode = options.get("sslmode");
  if (mode !== undefined && !MODES.includes(mode)) {
    throw invalid(`sslmode is ${JSON.stringify(mode.slice(0, 40))}`, `it takes ${MODES.join(", ")}`);
  }
  if (mode === "disable") return false;
  const files = { ca: options.get("sslrootcert"), cert: options.get("sslcert"), key: options.get("sslkey") };
  if (mode === undefined) {
    if (Object.values(files).every((file) => file === undefined)) return undefined;
    throw invalid("certificates are named, but not how they are used", "add sslmode=verify-full");
  }
  const ssl: ConnectionOptions = { host, rejectUnauthorized: mode !== "require" || files.ca !== undefined };
  for (const [name, file] of Object.entries(files)) {
    if (file !== undefined) ssl[name as keyof typeof files] = certificate(name, resolve(folder, file));
  }
  if (mode !== "verify-full") ssl.checkServerIdentity = () => undefined;
  return ssl;
}

function certificate(name: string, path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    const option = { ca: "sslrootcert", cert: "sslcert", key: "sslkey" }[name] ?? name;
    throw new SyncError("INVALID", `the file that ${option} names cannot be read`, {
      store: "sql",
      cure: "correct its path",
      cause,
    });
  }
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw invalid("the URL of the database has a broken % escape", "write % as %25");
  }
}

function invalid(what: string, cure: string): SyncError {
  return new SyncError("INVALID", what, { store: "sql", operation: "open", cure });
}
