import { readFile, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { SyncError } from "../error.ts";
import { nearest } from "./nearest.ts";
import { hasCode } from "./folders.ts";

/** What a `microsync.config.{ts,js,json}` says. */
export interface Config {
  /** The chain as one text, or its layers' URLs. */
  readonly chain?: string | readonly string[] | undefined;
  /** As the option of `open`. */
  readonly clock?: string | false | undefined;
  /** The folder of the journal; as the option of `open`. */
  readonly journal?: string | false | undefined;
  /** What `microsync serve` takes from its options and the environment otherwise. */
  readonly serve?: ServeConfig | undefined;
}

export interface ServeConfig {
  readonly listen?: string | undefined;
  readonly name?: string | undefined;
  /** Files. */
  readonly tokens?: string | undefined;
  readonly tlsCert?: string | undefined;
  readonly tlsKey?: string | undefined;
}

/** A configuration with the folder that its relative paths are relative to. */
export interface LoadedConfig extends Config {
  readonly path: string;
  readonly base: string;
}

export const CONFIG_FILES = ["microsync.config.ts", "microsync.config.js", "microsync.config.json"];

/** Gives a configuration its type in an editor; changes nothing. */
export function defineConfig(config: Config): Config {
  return config;
}

/**
 * The configuration of a folder; undefined when it has none.
 * @param path one particular file instead of those of {@link CONFIG_FILES}.
 * @throws SyncError INVALID for two files, or one that is malformed; NOT_FOUND for a named one that is not there.
 */
export async function loadConfig(folder: string, path?: string): Promise<LoadedConfig | undefined> {
  const found = path === undefined ? await findConfig(folder) : resolve(folder, path);
  if (found === undefined) return undefined;
  const config = check(await readConfig(found), found);
  return { ...config, path: found, base: dirname(found) };
}

async function findConfig(folder: string): Promise<string | undefined> {
  const there: string[] = [];
  for (const name of CONFIG_FILES) {
    try {
      if ((await stat(join(folder, name))).isFile()) there.push(name);
    } catch (error) {
      if (!hasCode(error, "ENOENT", "ENOTDIR")) throw unreadable(join(folder, name), error);
    }
  }
  if (there.length > 1) {
    throw new SyncError("INVALID", `${folder} has ${there.join(" and ")}`, { cure: "keep one of them" });
  }
  return there[0] === undefined ? undefined : join(folder, there[0]);
}

async function readConfig(path: string): Promise<unknown> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    throw unreadable(path, error);
  }
  if (path.endsWith(".json")) {
    try {
      return JSON.parse(text) as unknown;
    } catch (cause) {
      throw new SyncError("INVALID", `${path} is not JSON: ${firstLine(cause)}`, { cure: "correct the file", cause });
    }
  }
  const { typescript } = process.features as { readonly typescript?: unknown };
  if (path.endsWith(".ts") && (typescript === undefined || typescript === false)) {
    throw new SyncError("UNSUPPORTED", `${path}: Node ${process.versions.node} does not read TypeScript`, {
      cure: "use Node 22.18 or later, or write the file as microsync.config.js or .json",
    });
  }
  let module: unknown;
  try {
    module = await import(pathToFileURL(path).href);
  } catch (cause) {
    throw new SyncError("INVALID", `${path} cannot be loaded: ${firstLine(cause)}`, {
      cure: "correct the file",
      cause,
    });
  }
  if (typeof module !== "object" || module === null || !("default" in module)) {
    throw new SyncError("INVALID", `${path} has no default export`, { cure: "write export default { chain: … }" });
  }
  return module.default;
}

const FIELDS = ["chain", "clock", "journal", "serve"];
const SERVE_FIELDS = ["listen", "name", "tokens", "tlsCert", "tlsKey"];

function check(config: unknown, path: string): Config {
  if (typeof config !== "object" || config === null || Array.isArray(config)) {
    throw new SyncError("INVALID", `${path} is not an object`, { cure: 'write { "chain": "memory: …" }' });
  }
  for (const name of Object.keys(config)) {
    if (FIELDS.includes(name)) continue;
    const guess = nearest(name, FIELDS);
    throw new SyncError("INVALID", `${path}: there is no field ${JSON.stringify(name)}`, {
      cure: `${guess === undefined ? "" : `do you mean ${guess}? `}it may have ${FIELDS.join(", ")}`,
    });
  }
  const { chain, clock, journal, serve } = config as { readonly [name in keyof Config]: unknown };
  if (chain !== undefined && typeof chain !== "string" && !isTexts(chain)) {
    throw new SyncError("INVALID", `${path}: chain is neither a text nor a list of texts`, {
      cure: 'write "memory: lmdb:./cache" or ["memory:", "lmdb:./cache"]',
    });
  }
  if (clock !== undefined && clock !== false && (typeof clock !== "string" || clock === "")) {
    throw new SyncError("INVALID", `${path}: clock is neither a file's name nor false`, { cure: "name a file" });
  }
  if (journal !== undefined && journal !== false && (typeof journal !== "string" || journal === "")) {
    throw new SyncError("INVALID", `${path}: journal is neither a folder's name nor false`, { cure: "name a folder" });
  }
  checkServe(serve, path);
  return { chain, clock, journal, serve };
}

function checkServe(serve: unknown, path: string): asserts serve is ServeConfig | undefined {
  if (serve === undefined) return;
  const isObject = typeof serve === "object" && serve !== null && !Array.isArray(serve);
  const wrong = isObject
    ? Object.entries(serve).find(([name, value]) => !SERVE_FIELDS.includes(name) || typeof value !== "string")
    : ["itself"];
  if (wrong === undefined) return;
  throw new SyncError("INVALID", `${path}: serve is wrong in ${wrong[0]}`, {
    cure: `it is an object with the texts ${SERVE_FIELDS.join(", ")}`,
  });
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((part) => typeof part === "string");
}

function unreadable(path: string, cause: unknown): SyncError {
  const missing = hasCode(cause, "ENOENT", "ENOTDIR");
  return new SyncError(missing ? "NOT_FOUND" : "UNAVAILABLE", `${path} cannot be read: ${firstLine(cause)}`, {
    cure: missing ? "correct the path" : "make the file readable",
    retryable: false,
    cause,
  });
}

function firstLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split("\n", 1)[0] ?? "";
}
