import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { until } from "../start/person.ts";
import { git } from "../start/git.ts";
import type { Found, NodeProcess, Written } from "./node.ts";

/** What has to be everywhere at the end: per key what the newest acknowledged write said. */
export class Ledger {
  readonly #newest = new Map<string, Pick<Written, "text" | "version">>();
  #acknowledged = 0;

  /** A write that was acknowledged. Of two of one key the higher version counts, whoever wrote it, and whenever. */
  add({ key, text, version }: Written): void {
    this.#acknowledged++;
    const before = this.#newest.get(key);
    if (before === undefined || version > before.version) this.#newest.set(key, { text, version });
  }

  /** What a person committed; which version it gets, the node decides that sees it first. */
  commit(key: string, text: string): void {
    this.#newest.set(key, { text, version: "" });
  }

  get acknowledged(): number {
    return this.#acknowledged;
  }

  get keys(): readonly string[] {
    return [...this.#newest.keys()];
  }

  textOf(key: string): string | undefined {
    return this.#newest.get(key)?.text;
  }
}

/** Keys of which some node does not answer what it should, as an application asks it, or not the version of the others. */
export async function disagreeing(nodes: readonly NodeProcess[], ledger: Ledger, keys: readonly string[]) {
  const isRight = async (key: string) => {
    const found = await Promise.all(nodes.map((node) => node.read(key)));
    return found.every((each) => isAnswer(each, ledger.textOf(key))) && new Set(found.map(versionOf)).size === 1;
  };
  const right = await Promise.all(keys.map(isRight));
  return keys.filter((_, i) => right[i] !== true);
}

/** Known to have no value is another thing than that nobody could be asked. */
function isAnswer({ status, text }: Found, expected: string | undefined): boolean {
  return status === (expected === undefined ? 404 : 200) && text === expected;
}

function versionOf({ text, version }: Found): string | undefined {
  return text === undefined ? undefined : version;
}

/** Keys that some node lists and should not, or should and does not; "" when it could not list all. */
export async function listedWrongly(nodes: readonly NodeProcess[], ledger: Ledger): Promise<readonly string[]> {
  const lists = await Promise.all(nodes.map((node) => node.list()));
  const wrong = lists.flatMap(({ keys, isWhole }) => {
    const differing = [...new Set([...keys, ...ledger.keys])].filter(
      (key) => keys.includes(key) !== (ledger.textOf(key) !== undefined),
    );
    return isWhole ? differing : ["", ...differing];
  });
  return [...new Set(wrong)];
}

/** Looks until all agree, but not for ever. @returns the keys that they do not agree on then. */
export async function agreement(nodes: readonly NodeProcess[], ledger: Ledger): Promise<readonly string[]> {
  let left = ledger.keys;
  await until(async () => {
    left = await disagreeing(nodes, ledger, left);
    return left.length === 0;
  });
  return left;
}

/** Keys whose file on the branch is not what it should be, or is there and should not. */
export async function wrongInGit(bare: string, clone: string, ledger: Ledger): Promise<string[]> {
  await git(clone, "pull", "--quiet");
  const files = (await git(bare, "ls-tree", "-r", "-z", "--name-only", "main")).split("\0");
  const values = files.filter((path) => path !== "" && !path.startsWith(".microsync/"));
  const keys = [...new Set([...ledger.keys, ...values])];
  const isRight = async (key: string) => {
    const text = values.includes(key) ? await readFile(join(clone, key), "utf8") : undefined;
    return text === ledger.textOf(key);
  };
  const right = await Promise.all(keys.map(isRight));
  return keys.filter((_, i) => right[i] !== true);
}
