import type { Objects } from "./objects.ts";

/** How objects of one store are named: everything stands under its prefix. */
export interface Naming {
  readonly objects: Objects;
  readonly prefix: string;
  readonly algorithm: "sha1" | "sha256";
}

export function inRepository(prefix: string, path: string): string {
  return prefix === "" ? path : path === "" ? prefix : `${prefix}/${path}`;
}

export function objectName(commit: string, prefix: string, path: string): string {
  return `${commit}:${inRepository(prefix, path)}`;
}
