import { SyncError } from "../../error.ts";
import { checkBranch, checkPrefix } from "../git-layout/address.ts";

/** `github:owner/repo#branch:prefix` or `github://host/owner/repo#branch:prefix`, taken apart. */
export interface GithubUrl {
  /** `github.com`, or the host of a GitHub Enterprise. */
  readonly host: string;
  readonly owner: string;
  readonly repo: string;
  /** Undefined: the repository's default branch. */
  readonly branch: string | undefined;
  /** The folder of the repository that is the store's root, without slashes at its ends; "" is the whole tree. */
  readonly prefix: string;
  /** As it may be shown: it holds no credential. */
  readonly shown: string;
}

const HOST = /^[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?$/;
const NAME = /^(?!\.{1,2}$)[A-Za-z0-9_.-]{1,100}$/;
const CONTROL = /\p{Cc}/u;

/** @throws SyncError INVALID, naming the cure. */
export function parseGithubUrl(url: string): GithubUrl {
  const wrong = (what: string) =>
    new SyncError("INVALID", what, {
      store: "github",
      operation: "open",
      cure: "write github:owner/repo#branch:prefix, or github://host/owner/repo#branch:prefix for GitHub Enterprise",
    });
  if (CONTROL.test(url)) throw wrong("the GitHub URL holds control characters");
  if (url.includes("@") && /^github:\/\/[^/]*@/.test(url)) {
    throw new SyncError("INVALID", "a GitHub URL holds no credentials", {
      store: "github",
      operation: "open",
      cure: "give them by GITHUB_TOKEN or by the option token",
    });
  }
  const rest = url.startsWith("github:") ? url.slice("github:".length) : url;
  const hash = rest.indexOf("#");
  const where = hash < 0 ? rest : rest.slice(0, hash);
  const fragment = hash < 0 ? "" : rest.slice(hash + 1);
  const colon = fragment.indexOf(":");
  const branch = colon < 0 ? fragment : fragment.slice(0, colon);
  const prefix = checkPrefix(colon < 0 ? "" : fragment.slice(colon + 1), wrong);
  if (branch !== "") checkBranch(branch, wrong);

  const parts = where.startsWith("//") ? where.slice(2).split("/") : ["github.com", ...where.split("/")];
  const [host = "", owner = "", repository = ""] = parts;
  const repo = repository.replace(/\.git$/, "");
  if (parts.length !== 3 || !HOST.test(host) || !NAME.test(owner) || !NAME.test(repo)) {
    throw wrong("the GitHub URL names no repository");
  }
  const shown = `github:${host === "github.com" ? "" : `//${host}/`}${owner}/${repo}`;
  return { host, owner, repo, branch: branch === "" ? undefined : branch, prefix, shown };
}
