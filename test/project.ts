import { readFileSync, readdirSync } from "node:fs";
import { resolve } from "node:path";

export const root = resolve(import.meta.dirname, "..");

/** The text of a file of the project. */
export function read(path: string): string {
  return readFileSync(resolve(root, path), "utf8");
}

/**
 * The files below a folder of the project whose names match, as sorted paths with forward slashes, without installed
 * packages. None if absent.
 */
export function filesIn(folder: string, name: RegExp): string[] {
  try {
    return readdirSync(resolve(root, folder), { recursive: true, encoding: "utf8" })
      .map((path) => `${folder}/${path.replaceAll("\\", "/")}`)
      .filter((path) => name.test(path) && !path.includes("/node_modules/"))
      .sort();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

/** What the import statements in a source name, of every form, types included. */
export function importsOf(source: string): string[] {
  const code = source.replace(/\/\*[\s\S]*?\*\//g, "").replace(/^\s*\/\/.*$/gm, "");
  return [...code.matchAll(/\b(?:from|import)\s*\(?\s*["']([\w@./:-]+)["']/g)].map((match) => match[1] ?? "");
}
