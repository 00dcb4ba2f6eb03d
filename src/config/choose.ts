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
  /** The environment, of which `MICROSYNC_CHAIN` is read. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly folder: string;
}

export interface ChosenChain {
  readonly spec: ChainSpec;
  readonly clock: string | false | undefined;
  readonly base: string;
  /** What named it, for messages. */
  readonly source: string;
}

/** The chain to open: the flag, else the environment, else the configuration file, else the embedded default. */
export async function chooseChain({ flag, configFile, env, folder }: ChainSources): Promise<ChosenChain> {
  const config = await loadConfig(folder, configFile);
  const clock = config?.clock;
  // A clock that the file names is this folder's node, whichever chain is opened.
  const own = {
    clock: clock === undefined || clock === false ? clock : resolve(config?.base ?? folder, clock),
    base: folder,
  };
  if (flag !== undefined) return { ...own, spec: flag, source: "--chain" };
  const fromEnv = env["MICROSYNC_CHAIN"];
  if (fromEnv !== undefined && fromEnv !== "") return { ...own, spec: fromEnv, source: "MICROSYNC_CHAIN" };
  if (config?.chain !== undefined) {
    return { spec: config.chain, clock, base: config.base, source: config.path };
  }
  return { ...own, spec: DEFAULT_CHAIN, source: "the default" };
}
