import type { Runtime } from "../../runtime.ts";
import type { LargeFiles } from "../git-layout/names.ts";
import { lfsServer } from "../lfs/server.ts";
import { http } from "../wire/http.ts";
import { checkAddress } from "./address.ts";
import type { Credentials } from "./credentials.ts";
import type { GithubUrl } from "./url.ts";

export interface LargeOptions {
  readonly lfs?: boolean | undefined;
  readonly lfsUrl?: string | undefined;
}

interface Around {
  readonly runtime: Runtime;
  readonly branch: string;
  /** Where the API is. */
  readonly rest: string;
  readonly credentials: Credentials;
}

/** The repository's LFS server, under the same credential. It does not count as requests of the API. */
export function largeFiles(
  { host, owner, repo }: GithubUrl,
  { lfs = true, lfsUrl }: LargeOptions,
  numbers: { readonly lfsAboveBytes: number; readonly timeoutMs: number; readonly connectionsMax: number },
  { runtime, branch, rest, credentials }: Around,
): LargeFiles | undefined {
  if (!lfs) return undefined;
  const usual = /^https:\/\/api\.github\.com$/.test(rest) ? `https://${host}` : new URL(rest).origin;
  const url = (lfsUrl ?? `${usual}/${owner}/${repo}.git/info/lfs`).replace(/\/+$/, "");
  checkAddress(url, "the LFS server", "https://host/owner/repo.git/info/lfs");
  const { timeoutMs, connectionsMax, lfsAboveBytes } = numbers;
  const files = lfsServer({
    runtime,
    http: http({ runtime, store: "github", timeoutMs, connectionsMax }),
    store: "github",
    branch,
    async access(_, options) {
      const token = await credentials.token(options);
      const headers: Record<string, string> = {};
      if (token !== undefined) {
        headers["authorization"] = `Basic ${Buffer.from(`x-access-token:${token}`).toString("base64")}`;
      }
      return { url, headers };
    },
  });
  return { files, aboveBytes: lfsAboveBytes, orInGit: false };
}
