import { execFile } from "node:child_process";
import { promisify } from "node:util";

const run = promisify(execFile);

/** Plain git, as a person would type it. Returns what it printed, without the last line break. */
export async function git(folder: string, ...args: readonly string[]): Promise<string> {
  const { stdout } = await run("git", ["-C", folder, ...args], { maxBuffer: 64 * 1024 * 1024 });
  return stdout.replace(/\n$/, "");
}

export interface Commit {
  readonly id: string;
  readonly author: string;
  readonly subject: string;
  /** The files that it touched, by path. */
  readonly paths: readonly string[];
  /** The last line of `--stat`: how many files and lines. */
  readonly summary: string;
}

/** The facts that `git log -1 --stat` shows. */
export async function lastCommit(folder: string, branch: string): Promise<Commit> {
  const [id = "", author = "", subject = ""] = (await git(folder, "log", "-1", "--format=%h%n%an%n%s", branch)).split(
    "\n",
  );
  const names = await git(folder, "log", "-1", "--format=", "--name-only", "-z", branch);
  const stat = await git(folder, "log", "-1", "--format=", "--stat", branch);
  const paths = names.split("\0").filter((path) => path !== "");
  return { id, author, subject, paths, summary: stat.split("\n").at(-1)?.trim() ?? "" };
}
