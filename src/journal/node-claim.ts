import { open, readFile, readdir, rename, unlink } from "node:fs/promises";
import { join } from "node:path";
import { SyncError } from "../error.ts";
import { lifeOf, thisProcess } from "../process.ts";
import type { ProcessId } from "../process.ts";
import type { Runtime } from "../runtime.ts";
import type { Claim } from "./files.ts";

/**
 * One owner of a folder at a time, by files: `owner.PID.START.RANDOM`, where START is when the process began as the
 * kernel counts it (0 where there is no /proc), and three lines inside: host, boot id, process namespace.
 *
 * Each claimer puts its own file there first, whole (written aside, synced, renamed), and then looks at all the others,
 * so of two that claim at once at least one sees the other. Nobody takes over another's file: names are never used
 * twice, and the file of a dead process is only removed. So there is no moment at which a claim could be stolen.
 */
interface Owner extends ProcessId {
  readonly file: string;
}

const NAME = /^owner\.(\d+)\.(\d+)\.[0-9a-f]{16}$/;
const UNFINISHED = /^owner\.\d+\.\d+\.[0-9a-f]{16}\.new$/;

/** @throws SyncError UNAVAILABLE naming the owner. */
export async function claimFolder(folder: string, runtime: Runtime): Promise<Claim> {
  const own = await putClaim(folder, self(runtime));
  try {
    const names = await readdir(folder);
    const dead: string[] = [];
    for (const name of names) {
      if (name === own.file || !NAME.test(name)) continue;
      const other = await readOwner(folder, name);
      if (other === undefined) continue; // released in the meantime
      const refusal = judge(folder, own, other);
      if (refusal !== undefined) throw refusal;
      dead.push(name);
    }
    // Whoever has not finished its claim will find this one.
    for (const name of [...dead, ...names.filter((name) => UNFINISHED.test(name))]) await removeIfThere(folder, name);
  } catch (error) {
    await removeIfThere(folder, own.file);
    throw asRefusal(folder, error);
  }
  let released: Promise<void> | undefined;
  return {
    release() {
      released ??= removeIfThere(folder, own.file);
      return released;
    },
  };
}

async function putClaim(folder: string, own: Owner): Promise<Owner> {
  const temporary = join(folder, `${own.file}.new`);
  try {
    const file = await open(temporary, "wx", 0o600);
    try {
      await file.writeFile(`${own.host}\n${own.boot}\n${own.namespace}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, join(folder, own.file));
  } catch (error) {
    throw asRefusal(folder, error);
  }
  return own;
}

function self(runtime: Runtime): Owner {
  const own = thisProcess();
  const random = Buffer.from(runtime.random(new Uint8Array(8))).toString("hex");
  return { ...own, file: `owner.${own.pid}.${own.start}.${random}` };
}

async function readOwner(folder: string, file: string): Promise<Owner | undefined> {
  const [, pid = "", start = ""] = NAME.exec(file) ?? [];
  try {
    const [host = "", boot = "", namespace = ""] = (await readFile(join(folder, file), "utf8")).split("\n");
    return { file, pid: Number(pid), start, host, boot, namespace };
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/** Why the folder cannot be had; undefined when the other owner is certainly dead. */
function judge(folder: string, own: Owner, other: Owner): SyncError | undefined {
  const path = join(folder, other.file);
  const life = lifeOf(other, own);
  if (life === "dead") return undefined;
  if (life === "unknown") {
    const where = other.host === own.host ? "another container" : `the machine ${JSON.stringify(other.host)}`;
    return owned(folder, `process ${other.pid} of ${where} owns it, which cannot be judged from here`, {
      cure: `if that process has ended, remove ${path}`,
    });
  }
  if (other.pid === own.pid) {
    return owned(folder, `this process (${other.pid}) has it open already`, { cure: "open it once and share it" });
  }
  return owned(folder, `process ${other.pid} owns it`, { cure: "end that process first, or choose another folder" });
}

function owned(folder: string, what: string, details: { cure: string }): SyncError {
  return new SyncError("UNAVAILABLE", `the folder has one owner at a time: ${what}`, {
    store: `journal ${folder}`,
    operation: "claim",
    ...details,
  });
}

async function removeIfThere(folder: string, name: string): Promise<void> {
  try {
    await unlink(join(folder, name));
  } catch (error) {
    if (!isMissing(error)) throw asRefusal(folder, error);
  }
}

function asRefusal(folder: string, error: unknown): SyncError {
  if (error instanceof SyncError) return error;
  const what = isMissing(error) ? "another process claims it at this moment" : `it cannot be claimed: ${codeOf(error)}`;
  return owned(folder, what, { cure: `try again; make sure that ${folder} can be written` });
}

function isMissing(error: unknown): boolean {
  return codeOf(error) === "ENOENT";
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "unknown error";
}
