import { SyncError } from "../../error.ts";
import type { Names } from "./dialect.ts";

/** A table, or a schema and a table. Short enough that every name made from it fits the servers' 63 bytes. */
const TABLE = /^(?:([a-z_][a-z0-9_]{0,39})\.)?([a-z_][a-z0-9_]{0,39})$/;

/** @throws SyncError INVALID: what is no plain name is not put into a statement. */
export function namesOf(table: string): Names {
  const [, schema, plain] = TABLE.exec(table) ?? [];
  if (plain === undefined) {
    const what = `table ${JSON.stringify(table.slice(0, 100))} is no name that is taken`;
    const cure = "use a-z, 0-9 and _, at most 40, if you like behind a schema and a dot";
    throw new SyncError("INVALID", what, { store: "sql", operation: "open", cure });
  }
  const quoted = (name: string) => (schema === undefined ? `"${name}"` : `"${schema}"."${name}"`);
  return { entries: quoted(plain), about: quoted(`${plain}_about`), removals: quoted(`${plain}_removals`), plain };
}
