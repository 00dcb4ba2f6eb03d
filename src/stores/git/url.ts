import { homedir } from "node:os";
import { isAbsolute, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { SyncError } from "../../error.ts";
import { checkBranch, checkPrefix } from "../git-layout/address.ts";

/** `git:PATH-OR-URL#branch:prefix`, taken apart. */
export interface GitUrl {
  /** What git is given as the remote: an absolute path, a URL, or `user@host:path`. May hold credentials. */
  readonly remote: string;
  /** The remote as it may be shown. */
  readonly shown: string;
  /** The folder, when the remote was given as a path; undefined for everything that is reached through a transport. */
  readonly path: string | undefined;
  /** Undefined: the branch that the repository's HEAD names. */
  readonly branch: string | undefined;
  /** The folder of the repository that is the store's root, without slashes at its ends; "" is the whole tree. */
  readonly prefix: string;
}

const TRANSPORTS = /^(?:https?|ssh|git|file|git\+ssh|ssh\+git):\/\//i;
/** `host:path` or `user@host:path`: no slash before the colon, and more than the one letter of a Windows drive. */
const SCP = /^(?:[\w.+-]+@)?(?:[\w.-]{2,}|\[[0-9a-fA-F:]+\]):(?!\/\/)./;

const CONTROL = /\p{Cc}/u;

/**
 * A `#` in a path is part of it when another `#` follows: the last one begins the branch.
 * @param folder what relative paths start from. @throws SyncError INVALID, naming the cure.
 */
export function parseGitUrl(url: string, folder: string = process.cwd()): GitUrl {
  const rest = url.startsWith("git:") && !url.startsWith("git://") ? url.slice(4) : url;
  const hash = rest.lastIndexOf("#");
  const where = hash < 0 ? rest : rest.slice(0, hash);
  const fragment = hash < 0 ? "" : rest.slice(hash + 1);
  const colon = fragment.indexOf(":");
  const branch = colon < 0 ? fragment : fragment.slice(0, colon);
  const prefix = colon < 0 ? "" : fragment.slice(colon + 1);
  const wrong = (what: string) =>
    new SyncError("INVALID", what, { cure: "write git:PATH-OR-URL#branch:prefix, for example git:./truth.git#main" });

  if (where === "") throw wrong("the git URL names no repository");
  if (CONTROL.test(rest)) throw wrong("the git URL holds control characters");
  if (where.startsWith("-")) throw wrong("a repository's name may not begin with -, which git reads as an option");
  if (/^[\w+.-]+::/.test(where)) throw wrong("remote helpers (`name::address`) are not allowed");
  if (branch !== "") checkBranch(branch, wrong);

  const common = { branch: branch === "" ? undefined : branch, prefix: checkPrefix(prefix, wrong) };
  if (TRANSPORTS.test(where)) {
    const host = /^[^:]+:\/\/(?:[^/@]*@)?([^/]*)/.exec(where)?.[1] ?? "";
    if (host.startsWith("-")) throw wrong("a host name may not begin with -");
    if (/^file:/i.test(where)) {
      try {
        fileURLToPath(where);
      } catch (error) {
        throw new SyncError("INVALID", "the file URL is malformed", {
          cure: "write file:///folder/x.git",
          cause: error,
        });
      }
    }
    return { ...common, remote: where, shown: redact(where), path: undefined };
  }
  if (/^[\w+.-]+:\/\//.test(where)) throw wrong("git has no transport of this name");
  if (!isAbsolute(where) && SCP.test(where)) return { ...common, remote: where, shown: redact(where), path: undefined };
  const home = where === "~" || where.startsWith("~/") ? homedir() + where.slice(1) : where;
  const path = resolve(folder, home);
  return { ...common, remote: path, shown: where, path };
}

/**
 * `text` without what may be a secret in a URL: the whole user part for http, where a token may stand for the user,
 * the password for other transports; and what a query carries.
 */
export function redact(text: string): string {
  return text
    .replace(/(https?:\/\/)[^/\s'"@]*@/gi, "$1***@")
    .replace(/([a-z][\w+.-]*:\/\/[^/\s'":@]*):[^/\s'"@]*@/gi, "$1:***@")
    .replace(/(https?:\/\/[^\s'"?]*\?)[^\s'"]*/gi, "$1***");
}
