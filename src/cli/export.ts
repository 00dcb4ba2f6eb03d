import { open as openFile, readdir, rename, rm } from "node:fs/promises";
import { resolve } from "node:path";
import { SyncError } from "../error.ts";
import { hasCode } from "../config/folders.ts";
import { exportFolder } from "./export-folder.ts";
import { unwritable } from "./sink.ts";
import type { Sink } from "./sink.ts";
import { failures } from "./failures.ts";
import { gathered, jsonLine } from "./lines.ts";
import { tellPartial } from "./list.ts";
import { lineOf, linePieces } from "./ndjson.ts";
import { bytesText, countText, progress } from "./progress.ts";
import { readable } from "./readable.ts";
import type { Raw } from "../node/lines.ts";
import type { OpenSession, Session } from "./session.ts";

export interface ExportFlags {
  readonly force?: boolean;
}

/** Values as files of a folder, or entries as lines of a file. The keys lose the prefix; `import` gives it back. */
export async function run(session: Session, args: readonly string[], { force = false }: ExportFlags): Promise<number> {
  const { io, json, call, open } = session;
  const [prefix, to] = args.length > 1 ? [args[0] ?? "", args[1] ?? ""] : ["", args[0] ?? ""];
  const makeSink = await sinkFor(session, to, force);
  const { db } = await open();
  const shown = progress(io);
  const failed = failures(io, json, shown);
  let keys = 0;
  let bytes = 0;
  const view: OpenSession["db"] = prefix === "" ? db : db.namespace<Raw>(prefix);
  const partial = new Set<string>();
  const sink = await makeSink();
  let note: string | undefined;
  try {
    for await (const item of readable(view, prefix, call, partial)) {
      try {
        if ("stream" in item) await sink.addStream(item.key, item.stream);
        else await sink.add(item.entry);
        keys++;
        bytes += "stream" in item ? item.stream.size : item.entry.value.bytes.length;
      } catch (error) {
        if (!(error instanceof SyncError) || error.code === "ABORTED" || sink.whole) throw error;
        await failed.add(item.key, error);
      }
      shown.tell(() => `exporting: ${countText(keys, "key")}, ${bytesText(bytes)}`);
      if (io.signal.aborted) throw new SyncError("ABORTED", `interrupted after ${countText(keys, "key")}`);
    }
    note = await sink.end();
  } catch (error) {
    await sink.cancel();
    throw error;
  }
  await shown.clear();
  const status = (await failed.end()) || (await tellPartial(io, [...partial]));
  if (to === "-") return status;
  if (json) await io.stdout.write(jsonLine({ exported: keys, bytes, failed: failed.count }));
  else await io.stderr.write(`exported ${countText(keys, "key")}, ${bytesText(bytes)}\n`);
  if (note !== undefined) await io.stderr.write(`microsync: ${note}\n`);
  return status;
}

/** Refuses what must not be overwritten, before the chain is opened; the sink itself creates what it needs. */
async function sinkFor({ io }: Session, to: string, force: boolean): Promise<() => Promise<Sink>> {
  if (to === "-") {
    const out = gathered(io.stdout);
    const end = async () => {
      await out.end();
      return undefined;
    };
    const add: Sink["add"] = async (entry) => out.add(lineOf(entry));
    const addStream: Sink["addStream"] = async (key, found) => {
      for await (const piece of linePieces(key, found)) await out.add(piece);
    };
    return async () => ({ whole: true, add, addStream, end, cancel: end });
  }
  const path = resolve(io.folder, to);
  const isFile = /\.(?:ndjson|jsonl)$/i.test(path);
  let names: string[] = [];
  try {
    if (isFile) await (await openFile(path, "r")).close();
    else names = await readdir(path);
    if (!force && (isFile || names.length > 0)) {
      throw new SyncError("INVALID", `${to} ${isFile ? "is there already" : "is a folder that is not empty"}`, {
        operation: "export",
        cure: "name another one, or give --force to write over what is there",
      });
    }
  } catch (error) {
    if (error instanceof SyncError) throw error;
    if (!hasCode(error, "ENOENT")) throw unwritable(to, error);
  }
  return isFile ? () => fileSink(path, to) : () => exportFolder(path, to, force);
}

/** Lines in a file that appears when it is complete. */
async function fileSink(path: string, shown: string): Promise<Sink> {
  const temporary = `${path}.${process.pid}.tmp`;
  const file = await openFile(temporary, "wx").catch((error: unknown) => {
    throw unwritable(shown, error);
  });
  const write = async (text: string): Promise<void> => {
    await file.appendFile(text).catch((error: unknown) => {
      throw unwritable(shown, error);
    });
  };
  return {
    whole: true,
    add: async (entry) => write(lineOf(entry)),
    async addStream(key, found) {
      for await (const piece of linePieces(key, found)) await write(piece);
    },
    async end() {
      await file.sync();
      await file.close();
      await rename(temporary, path);
      return undefined;
    },
    async cancel() {
      await file.close();
      await rm(temporary, { force: true });
    },
  };
}
