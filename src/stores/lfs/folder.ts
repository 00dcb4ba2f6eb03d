import { createReadStream } from "node:fs";
import { mkdir, open, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { SyncError } from "../../error.ts";
import type { Runtime } from "../../runtime.ts";
import { checkCall } from "../../store.ts";
import { checked } from "./checked.ts";
import type { LfsFiles, Upload } from "./files.ts";

export interface FolderSettings {
  readonly runtime: Runtime;
  /** The store's name, for errors. */
  readonly store: string;
  /** `lfs/objects` of a repository on this machine: where the client looks for a remote that is a path or file URL. */
  readonly folder: string;
}

const PIECE_BYTES = 64 * 1024;

/** Large files of a repository on this machine, as the client's own transfer for file URLs lays them out. */
export function lfsFolder({ runtime, store, folder }: FolderSettings): LfsFiles {
  const pathOf = (oid: string) => join(folder, oid.slice(0, 2), oid.slice(2, 4), oid);
  const has = async ({ oid, size }: Pick<Upload, "oid" | "size">) => {
    const found = await stat(pathOf(oid)).catch(() => undefined); // not there, which is the question
    return found?.size === size;
  };
  const put = async (object: Upload, check: () => void) => {
    const path = pathOf(object.oid);
    const chance = Buffer.from(runtime.random(new Uint8Array(6))).toString("hex");
    const temporary = join(folder, `${object.oid}.${chance}.tmp`);
    await mkdir(dirname(path), { recursive: true });
    try {
      const file = await open(temporary, "wx");
      try {
        for await (const piece of checked(object.content(), object, store)) {
          check();
          await file.write(piece);
        }
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(temporary, path);
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
    await flushed(dirname(path));
  };
  return {
    async upload(objects, options) {
      const check = () => checkCall(runtime, options, store, "write");
      for (const object of objects) {
        check();
        if (!(await has(object))) await put(object, check);
      }
    },
    async *download(pointer, options, part) {
      if (!(await has(pointer))) {
        throw new SyncError("NOT_FOUND", `the large file ${pointer.oid} is not in the repository`, {
          store,
          operation: "read",
          cure: "push it from a clone that has it, by git lfs push --all",
        });
      }
      if (part !== undefined && part.to <= part.from) return;
      const where = part === undefined ? {} : { start: part.from, end: part.to - 1 };
      const pieces = createReadStream(pathOf(pointer.oid), { highWaterMark: PIECE_BYTES, ...where });
      const bytes = pieces as AsyncIterable<Uint8Array>;
      for await (const piece of part === undefined ? checked(bytes, pointer, store) : bytes) {
        checkCall(runtime, options, store, "read");
        yield piece;
      }
    },
    close: () => Promise.resolve(),
  };
}

/** The name is on disk too. */
async function flushed(folder: string): Promise<void> {
  const handle = await open(folder, "r").catch(() => undefined); // some platforms open no folders; they need no flush
  if (handle === undefined) return;
  try {
    await handle.sync().catch(() => undefined); // the same of those that open but do not flush
  } finally {
    await handle.close();
  }
}
