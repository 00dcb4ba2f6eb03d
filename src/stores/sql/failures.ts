import { DatabaseError } from "pg";
import { SyncError } from "../../error.ts";
import type { ErrorCode, ErrorDetails } from "../../error.ts";

type Verdict = readonly [code: ErrorCode, what: string, cure: string];

/**
 * What the server's SQLSTATEs ask of the reader, by code or by class (its first two characters).
 * Source: PostgreSQL documentation, appendix A. Neither message nor detail of the server is passed on where it may quote
 * what was sent: keys and values are nobody's business in a log.
 */
const BY_STATE: Readonly<Record<string, Verdict>> = {
  "28": [
    "UNAUTHORISED",
    "the server refuses the credentials",
    "correct user and password, or the server's pg_hba.conf",
  ],
  "42501": [
    "UNAUTHORISED",
    "the user may not do this",
    "grant it SELECT, INSERT, UPDATE and DELETE on the store's tables",
  ],
  "3D000": ["NOT_FOUND", "there is no such database", "create it, or correct the URL"],
  "3F000": ["NOT_FOUND", "there is no such schema", "create it, or correct the table's name"],
  "42P01": ["NOT_FOUND", "there is no such table", "add ?create=true to the URL (create: true), or correct its name"],
  "42703": ["CORRUPT", "the table lacks a column", "restore the table, or name another"],
  "53100": ["UNAVAILABLE", "the server's disk is full", "free space there, then try again"],
  "53300": ["UNAVAILABLE", "the server takes no more connections", "lower `connections`, or raise max_connections"],
  "53": ["UNAVAILABLE", "the server lacks resources", "look at its log"],
  "57014": ["TIMEOUT", "the server cancelled the statement", "raise `timeout`, or look for who holds a lock"],
  "57P05": ["UNAVAILABLE", "the server closed an idle session", "try again"],
  "57": ["UNAVAILABLE", "the server is going down or coming up", "try again"],
  "58": ["UNAVAILABLE", "the server's system failed", "look at its log"],
  "08": ["UNAVAILABLE", "the connection was lost", "try again"],
  "25006": ["READONLY", "the server takes no writes: a standby, or a read-only session", "name the primary"],
  "25P03": ["TIMEOUT", "the transaction stood idle for too long", "try again"],
  "40": ["UNAVAILABLE", "other transactions were always faster", "try again, or write the same keys less often"],
  "54": ["TOO_LARGE", "the statement is above a limit of the server", "send smaller batches or values"],
  "0A": ["UNSUPPORTED", "the server does not have what the store needs", "use PostgreSQL 13 or later, or CockroachDB"],
  XX001: ["CORRUPT", "the server found damaged data", "restore the database from a backup"],
  XX002: ["CORRUPT", "the server found a damaged index", "REINDEX the table"],
};

const CERTIFICATE = /CERT|SIGNATURE|ALTNAME|ISSUER/;

/** The SQLSTATE of a server's error; undefined for every other. */
export function stateOf(error: unknown): string | undefined {
  return error instanceof DatabaseError ? error.code : undefined;
}

/** Serialisation failures and deadlocks: the transaction had no effect, and the same again may succeed at once. */
export function isContention(error: unknown): boolean {
  const state = stateOf(error);
  return state === "40001" || state === "40P01";
}

/** An error of the server, the client or the network as one of Sync's, with the cure, without what may be secret. */
export function sqlFailure(error: unknown, details: ErrorDetails): SyncError {
  if (error instanceof SyncError) return error;
  const state = stateOf(error);
  if (state !== undefined) {
    const verdict = BY_STATE[state] ?? BY_STATE[state.slice(0, 2)];
    const [code, what, cure] = verdict ?? ["INTERNAL", "the server refused the statement", "report it"];
    return new SyncError(code, `${what} (SQLSTATE ${state})`, {
      ...details,
      cure,
      retryable: code === "UNAVAILABLE" || code === "TIMEOUT",
    });
  }
  return clientFailure(error, details);
}

function clientFailure(error: unknown, details: ErrorDetails): SyncError {
  const code = error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "";
  const text = error instanceof Error ? error.message : "";
  if (CERTIFICATE.test(code)) {
    const cure = "name the authority that signed it with sslrootcert, and the host as its certificate does";
    return new SyncError("UNAUTHORISED", `the server's certificate is refused (${code})`, { ...details, cure });
  }
  if (text.includes("does not support SSL")) {
    const cure = "let the server use TLS, or say sslmode=disable if the network is trusted";
    return new SyncError("UNAUTHORISED", "the server has no TLS", { ...details, cure });
  }
  if (/password|SASL|SCRAM/i.test(text)) {
    const cure = "give one in the URL, in PGPASSWORD or in ~/.pgpass";
    return new SyncError("UNAUTHORISED", "the server wants a password that was not given", { ...details, cure });
  }
  const what = code === "" ? "the connection was lost" : `the server cannot be reached (${code})`;
  return new SyncError("UNAVAILABLE", what, { ...details, cure: "see that it runs and that host and port are right" });
}
