import { SyncError } from "../../error.ts";
import type { Dialect, Names } from "./dialect.ts";
export function cockroach(_names: Names, _settings: { timeoutMs: number; expiredKeepMs: number }): Dialect {
  throw new SyncError("UNSUPPORTED", "not yet");
}
