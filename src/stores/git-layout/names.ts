import type { Repository } from "./repository.ts";

/** Whose store it is, and where in the repository: everything stands under its prefix. */
export interface Naming {
  /** The store's name, for errors. */
  readonly store: string;
  readonly repository: Repository;
  readonly prefix: string;
}

export function inRepository(prefix: string, path: string): string {
  return prefix === "" ? path : path === "" ? prefix : `${prefix}/${path}`;
}
