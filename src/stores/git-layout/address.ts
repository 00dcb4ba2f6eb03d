import type { SyncError } from "../../error.ts";

/** git check-ref-format, for one branch. `wrong` makes the error that is thrown. */
export function checkBranch(branch: string, wrong: (what: string) => SyncError): void {
  const bad = /^-|^\/|\/$|\/\/|\.\.|@\{|[ ~^:?*[\\]|\.$|\.lock(?:\/|$)|(?:^|\/)\.|^@$/.test(branch);
  if (bad || branch === "HEAD") throw wrong(`${JSON.stringify(branch)} is not a branch name`);
}

/** A prefix without slashes at its ends. Refuses what git or this layout keeps for itself. */
export function checkPrefix(prefix: string, wrong: (what: string) => SyncError): string {
  const trimmed = prefix.replace(/^\/+|\/+$/g, "");
  if (trimmed === "") return "";
  for (const segment of trimmed.split("/")) {
    const refused =
      segment === "" || segment === "." || segment === ".." || /^\.git$|^git~1$|^\.microsync$/i.test(segment);
    if (refused || segment.includes("\\")) throw wrong(`the prefix has the segment ${JSON.stringify(segment)}`);
  }
  return trimmed;
}
