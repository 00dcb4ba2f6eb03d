import { execFile } from "node:child_process";
import { SyncError } from "../../error.ts";
import type { LfsAccess } from "../lfs/server.ts";
import { gitError } from "./command.ts";

const ANSWER_BYTES_MAX = 64 * 1024;

/**
 * The remote says over ssh where its LFS server is, and lends a credential for it. The program is the one that GIT_SSH
 * names, or ssh; it asks nobody. Source: git-lfs, docs/api/server-discovery.md.
 */
export async function accessBySsh(
  host: string,
  path: string,
  operation: "upload" | "download",
  timeoutMs: number,
): Promise<LfsAccess> {
  const port = /:([0-9]+)$/.exec(host)?.[1];
  const target = port === undefined ? [host] : ["-p", port, host.slice(0, -port.length - 1)];
  const own = process.env["GIT_SSH"];
  const options = own === undefined ? ["-o", "BatchMode=yes"] : [];
  const args = [...options, ...target, `git-lfs-authenticate ${quoted(path)} ${operation}`];
  const said = await new Promise<string>((resolve, reject) => {
    execFile(own ?? "ssh", args, { timeout: timeoutMs, maxBuffer: ANSWER_BYTES_MAX }, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else reject(gitError("lfs-authenticate", stderr === "" ? `error: ${error.code ?? "it ended"}` : stderr));
    });
  });
  try {
    const { href, header = {} } = JSON.parse(said) as { href: string; header?: Record<string, string> };
    return { url: new URL(href).href.replace(/\/+$/, ""), headers: header };
  } catch {
    // The answer holds a credential: what the parser says of it is kept from everybody.
    throw new SyncError("UNSUPPORTED", "the remote does not say where its LFS server is", {
      store: "git",
      operation: "lfs",
      cure: "name the server by the option lfsUrl, or keep large values in git by lfs: false",
    });
  }
}

/** For the shell at the other end. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
