import { resolve } from "node:path";
import { DEFAULT_CHAIN } from "./open.ts";
import type { ChainSpec } from "./open.ts";
import { loadConfig } from "./file.ts";

/** Where a chain may be named; what stands first goes first. */
export interface ChainSources {
  /** `--chain`. */
  readonly flag?: string | undefined;
  /** `--config`: a configuration file other than the folder's own. */
  readonly configFile?: string | undefined;
  /** `--journal`. */
  readonly journal?: string | undefined;
  /** The environment, of which `MICROSYNC_CHAIN` and `MICROSYNC_JOURNAL` are read. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly folder: string;
}

export interface ChosenChain {
  readonly spec: ChainSpec;
  readonly clock: string | false | undefined;
  /** The folder of the journal, if one is named. */
  readonly journal: string | false | undefined;
  readonly base: string;
  /** What named it, for messages. */
  readonly source: string;
}

/** The chain to open: the flag, else the environment, else the configuration file, else the embedded default. */
export async function chooseChain(sources: ChainSources): Promise<ChosenChain> {
  const { flag, configFile, env, folder } = sources;
  const config = await loadConfig(folder, configFile);
  // A clock and a journal that the file names are this folder's node, whichever chain is opened.
  const within = (path: string | false | undefined) =>
    path === undefined || path === false ? path : resolve(config?.base ?? folder, path);
  const fromNearer = sources.journal ?? env["MICROSYNC_JOURNAL"];
  const isNamed = fromNearer !== undefined && fromNearer !== "";
  const journal = isNamed ? resolve(folder, fromNearer) : within(config?.journal);
  const own = { clock: within(config?.clock), journal, base: folder };
  if (flag !== undefined) return { ...own, spec: flag, source: "--chain" };
  const fromEnv = env["MICROSYNC_CHAIN"];
  if (fromEnv !== undefined && fromEnv !== "") return { ...own, spec: fromEnv, source: "MICROSYNC_CHAIN" };
  if (config?.chain !== undefined) {
    return { ...own, spec: config.chain, base: config.base, source: config.path };
  }
  return { ...own, spec: DEFAULT_CHAIN, source: "the default" };
}
