import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { open } from "lmdb";
import { decodeEnvelope, encodeEnvelope } from "../../src/envelope.ts";
import { lmdb } from "../../src/stores/lmdb.ts";
import { systemRuntime as runtime } from "../../src/system.ts";
import { versionFromBytes } from "../../src/version.ts";
import { zlibCompression as compression } from "../../src/zlib.ts";
import type { Subject } from "./harness.ts";

/** Where an envelope has its version, and a row of the bare table its envelope. */
const VERSION_AT = 4;
const CHANGE_BYTES = 8;
const ENCODING = { encoding: "binary", keyEncoding: "binary" } as const;

export async function lmdbSubject(): Promise<Subject> {
  const folder = mkdtempSync(join(tmpdir(), "microsync-bench-"));
  const store = await lmdb(join(folder, "store"), { runtime });
  const settings = { noSubdir: false, overlappingSync: false, eventTurnBatching: false, ...ENCODING };
  const root = open<Uint8Array, Uint8Array>({ path: join(folder, "bare"), ...settings });
  const rows = root.openDB<Uint8Array, Uint8Array>({ name: "entries", ...ENCODING });
  const changes = root.openDB<Uint8Array, Uint8Array>({ name: "changes", ...ENCODING });
  const state = root.openDB<Uint8Array, Uint8Array>({ name: "state", ...ENCODING });
  const utf8 = new TextEncoder();
  let change = 0;
  const numbered = (number: number) => {
    const bytes = Buffer.alloc(CHANGE_BYTES);
    bytes.writeBigUInt64BE(BigInt(number));
    return bytes;
  };
  return {
    store,
    bare: {
      async write(items) {
        const encoded = items.map((entry) => {
          return { ...entry, key: utf8.encode(entry.key), envelope: encodeEnvelope(entry, { asOf: 0, compression }) };
        });
        await root.childTransaction(() => {
          for (const { key, version, envelope } of encoded) {
            const row = rows.getBinary(key);
            if (row !== undefined) {
              if (versionFromBytes(row, CHANGE_BYTES + VERSION_AT) >= version) throw new Error("not newer");
              changes.removeSync(row.subarray(0, CHANGE_BYTES));
            }
            const number = numbered(++change);
            rows.putSync(key, Buffer.concat([number, envelope]));
            changes.putSync(number, key);
          }
          state.putSync(utf8.encode("state"), numbered(change));
        });
      },
      async read(names) {
        root.resetReadTxn();
        for (const key of names) {
          const row = rows.getBinary(utf8.encode(key));
          if (row === undefined) throw new Error("not found");
          decodeEnvelope(row.subarray(CHANGE_BYTES), { key, compression });
        }
        return Promise.resolve();
      },
    },
    bareIs:
      "lmdb: one synced transaction a call, the same compare, the same envelopes, and the same order of changes beside them",
    versions: "lmdb",
    unit: "requests",
    requests: () => 0,
    async close() {
      await store.close();
      await root.close();
      rmSync(folder, { recursive: true });
    },
  };
}
