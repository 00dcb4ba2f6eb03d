import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { SyncError } from "../../error.ts";
import type { Runtime } from "../../runtime.ts";
import type { LargeFiles } from "../git-layout/names.ts";
import { lfsFolder } from "../lfs/folder.ts";
import { lfsServer } from "../lfs/server.ts";
import type { LfsAccess } from "../lfs/server.ts";
import { http } from "../wire/http.ts";
import { gitCommand } from "./command.ts";
import type { Git } from "./command.ts";
import { accessBySsh } from "./large-by-ssh.ts";
import type { GitUrl } from "./url.ts";

export interface LargeOptions {
  /** False: large values lie in git, and pointers are values like any. Default true. */
  readonly lfs?: boolean | undefined;
  /** Values of more bytes go to Git LFS. Default 1 MiB. */
  readonly lfsAboveBytes?: number | undefined;
  /** The LFS server. Default: the one that belongs to the remote's URL. */
  readonly lfsUrl?: string | undefined;
}

export interface LargeSettings extends LargeOptions {
  readonly runtime: Runtime;
  readonly url: GitUrl;
  readonly branch: string;
  /** Of a repository on this machine, where the objects then lie. */
  readonly gitDir: string | undefined;
  readonly timeoutMs: number;
}

export const LFS_ABOVE_BYTES = 1024 * 1024;
const CONNECTIONS_MAX = 4;

/** Where the large files of a repository are, as the git lfs client would find them. Undefined: nowhere. */
export function largeFiles(settings: LargeSettings): LargeFiles | undefined {
  const { runtime, url, branch, gitDir, lfs = true, lfsUrl, lfsAboveBytes = LFS_ABOVE_BYTES, timeoutMs } = settings;
  if (!lfs) return undefined;
  const store = "git";
  if (lfsUrl === undefined && gitDir !== undefined) {
    const files = lfsFolder({ runtime, store, folder: join(gitDir, "lfs", "objects") });
    return { files, aboveBytes: lfsAboveBytes, orInGit: false };
  }
  const access = accessOf(gitCommand({ runtime }), url, lfsUrl, timeoutMs);
  if (access === undefined) return undefined;
  const wire = http({ runtime, store, timeoutMs, connectionsMax: CONNECTIONS_MAX });
  const files = lfsServer({ runtime, http: wire, store, branch, access });
  return { files, aboveBytes: lfsAboveBytes, orInGit: lfsUrl === undefined };
}

/** The folder that a file URL names. */
export function folderOf({ path, remote }: GitUrl): string | undefined {
  if (path !== undefined) return path;
  return /^file:/i.test(remote) ? fileURLToPath(remote) : undefined;
}

type Access = (operation: "upload" | "download") => Promise<LfsAccess>;

/** Source: git-lfs, docs/api/server-discovery.md and authentication.md. */
function accessOf(git: Git, { remote }: GitUrl, lfsUrl: string | undefined, timeoutMs: number): Access | undefined {
  if (lfsUrl !== undefined || /^https?:/i.test(remote)) {
    const { base, user, password } = addressOf(lfsUrl ?? remote);
    const url = lfsUrl !== undefined ? base : `${base.endsWith(".git") ? base : `${base}.git`}/info/lfs`;
    let headers: Promise<Record<string, string>> | undefined;
    return async () => {
      headers ??= user === "" && password === "" ? stored(git, url, timeoutMs) : Promise.resolve(basic(user, password));
      headers.catch(() => (headers = undefined)); // the next one asks again
      return { url, headers: await headers };
    };
  }
  const ssh = /^(?:(?:git\+)?ssh|ssh\+git):\/\/([^/]+)\/(.+)$/i.exec(remote) ?? /^([^/:]+):(?!\/\/)(.+)$/.exec(remote);
  const [, host = "", path = ""] = ssh ?? [];
  if (host === "" || path === "" || host.startsWith("-")) return undefined;
  return (operation) => accessBySsh(host, path, operation, timeoutMs);
}

/** An address and the credentials in it. @throws SyncError INVALID, without a word of it: it may hold a password. */
function addressOf(text: string): { readonly base: string; readonly user: string; readonly password: string } {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const user = decoded(url?.username);
  const password = decoded(url?.password);
  if (!/^https?:$/.test(url?.protocol ?? "") || url === undefined || user === undefined || password === undefined) {
    throw new SyncError("INVALID", "the address of the LFS server is no http or https URL", {
      store: "git",
      operation: "open",
      cure: "write lfsUrl as https://host/owner/repo.git/info/lfs, with % as %25; or keep large values in git by lfs: false",
    });
  }
  return { base: (url.origin + url.pathname).replace(/\/+$/, ""), user, password };
}

function decoded(text: string | undefined): string | undefined {
  try {
    return text === undefined ? undefined : decodeURIComponent(text);
  } catch {
    return undefined; // a broken escape
  }
}

function basic(user: string, password: string): Record<string, string> {
  return { authorization: `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}` };
}

/** What git's credential helpers know. Nobody is asked. */
async function stored(git: Git, url: string, timeoutMs: number): Promise<Record<string, string>> {
  const { code, stdout } = await git.run(["credential", "fill"], { input: `url=${url}\n\n`, timeoutMs });
  if (code !== 0) return {};
  const said = stdout.toString("utf8");
  const user = /^username=(.*)$/m.exec(said)?.[1];
  const password = /^password=(.*)$/m.exec(said)?.[1];
  return user === undefined || password === undefined ? {} : basic(user, password);
}
