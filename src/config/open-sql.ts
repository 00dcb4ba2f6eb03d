import { SyncError } from "../error.ts";
import { sql } from "../stores/sql.ts";
import type { OpenContext, Opened } from "./schemes.ts";
import type { StoreUrl } from "./url.ts";
import type { OptionValue } from "./values.ts";

/** The options of a connection URL that every client of these systems knows; they are passed on. */
const CONNECTION = ["host", "sslmode", "sslrootcert", "sslcert", "sslkey", "application_name"];

/** What the store creates, tables, is not taken back: others may have begun to use them. */
export async function openSql(
  url: StoreUrl,
  values: ReadonlyMap<string, OptionValue>,
  { runtime, base }: OpenContext,
): Promise<Opened> {
  const given = CONNECTION.flatMap((name) => {
    const value = values.get(name);
    return value === undefined ? [] : [`${name}=${encodeURIComponent(String(value))}`];
  });
  const text = `${url.scheme}:${url.place}${given.length === 0 ? "" : `?${given.join("&")}`}`;
  try {
    const store = await sql(text, {
      runtime,
      folder: base,
      table: values.get("table") as string | undefined,
      create: values.get("create") as boolean | undefined,
      readonly: values.get("readonly") as boolean | undefined,
      metaIndex: values.get("metaIndex") as boolean | undefined,
      connections: values.get("connections") as number | undefined,
      timeoutMs: values.get("timeout") as number | undefined,
      notify: values.get("notify") as boolean | undefined,
      expiredKeepMs: values.get("expiredKeep") as number | undefined,
    });
    return { store, clock: { resolutionMs: 1, ask: (call) => store.serverTime(call) } };
  } catch (error) {
    throw inUrlWords(error);
  }
}

/** What is an option of `sql()` is one of the URL here. */
function inUrlWords(error: unknown): unknown {
  const words = "open with create: true";
  if (!(error instanceof SyncError) || error.cure?.includes(words) !== true) return error;
  const { code, what, cure, retryable } = error;
  return new SyncError(code, what, {
    cure: cure.replace(words, "add ?create=true to the URL"),
    retryable,
    cause: error,
  });
}
