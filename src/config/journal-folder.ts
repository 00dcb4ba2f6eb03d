import { readdir, rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import { checkNumbers } from "../chain/layer.ts";
import { SyncError } from "../error.ts";
import { openJournal } from "../journal/open.ts";
import type { JournalOptions } from "../journal/contract.ts";
import type { Journal } from "../journal/journal.ts";
import { nodeFiles } from "../journal/node-files.ts";
import type { Runtime } from "../runtime.ts";
import { systemRuntime } from "../system.ts";
import { rememberMissing } from "./folders.ts";

/** A journal's folder with its limits; see {@link JournalOptions} for the defaults. */
export interface JournalFolder extends Omit<JournalOptions, "files" | "runtime"> {
  readonly folder: string;
}

/**
 * The journal of a folder of this machine's disk, which is created where it is missing, for `chain`; `open` takes the
 * folder itself.
 * @throws SyncError UNAVAILABLE naming the process that owns it; CORRUPT naming file and offset.
 */
export async function journal(folder: string, options: Partial<Omit<JournalOptions, "files">> = {}): Promise<Journal> {
  const { runtime = systemRuntime, ...limits } = options;
  return openJournal({ ...limits, runtime, files: nodeFiles(resolve(folder), { runtime }) });
}

/** What `open` opens, to be taken back when a chain cannot be made of it. */
export async function openFolder(given: string | JournalFolder, base: string, runtime: Runtime) {
  const { folder, ...limits } = typeof given === "string" ? { folder: given } : given;
  if (typeof folder !== "string" || folder === "") {
    throw new SyncError("INVALID", "option journal names no folder", {
      operation: "open",
      cure: 'as in "./.sync/journal"',
    });
  }
  checkLimits(limits);
  const path = resolve(base, folder);
  const missing = await rememberMissing(path, []);
  const undo = async () => {
    if (!missing.folders.includes(path)) return;
    for (const name of await readdir(path).catch(() => [])) await rm(join(path, name));
    await missing.remove();
  };
  try {
    const opened = await openJournal({ ...limits, runtime, files: nodeFiles(path, { runtime }) });
    return { journal: opened, store: opened, undo };
  } catch (error) {
    await undo();
    throw error;
  }
}

const LIMITS = ["segmentBytes", "entriesMax", "bytesMax", "ageMsMax", "waitMs", "memoryBytesMax", "keptBytesMax"];

function checkLimits(limits: Readonly<Record<string, number | undefined>>): void {
  for (const name of Object.keys(limits)) {
    if (LIMITS.includes(name)) continue;
    throw new SyncError("INVALID", `the journal has no option ${JSON.stringify(name)}`, {
      operation: "open",
      cure: `it takes folder, ${LIMITS.join(", ")}`,
    });
  }
  checkNumbers("journal", limits);
}
