import type { LfsFiles } from "../lfs/files.ts";
import type { Repository } from "./repository.ts";

/** Whose store it is, and where in the repository: everything stands under its prefix. */
export interface Naming {
  /** The store's name, for errors. */
  readonly store: string;
  readonly repository: Repository;
  readonly prefix: string;
  /** Where values lie that are too large for git; undefined: there is no such place, and all lie in git. */
  readonly large: LargeFiles | undefined;
}

export interface LargeFiles {
  readonly files: LfsFiles;
  /** Values of more bytes go there. */
  readonly aboveBytes: number;
  /** Where there turns out to be no such place, values stay in git; otherwise their writes fail. */
  readonly orInGit: boolean;
}

export function inRepository(prefix: string, path: string): string {
  return prefix === "" ? path : path === "" ? prefix : `${prefix}/${path}`;
}
