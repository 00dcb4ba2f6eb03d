import { readDuration } from "../config/values.ts";
import { forCaller } from "../caller.ts";
import type { Chain } from "../chain/chain.ts";
import type { CommonOptions, Sync } from "../sync.ts";
import type { Io } from "./io.ts";
import type { Raw } from "../node/lines.ts";

/** The options that every command takes. */
export interface GlobalOptions {
  readonly chain?: string;
  readonly config?: string;
  readonly json?: boolean;
  readonly timeout?: string;
  readonly journal?: string;
}

/** What a command works with. */
export interface Session {
  readonly io: Io;
  readonly json: boolean;
  /** As the command line gave them. */
  readonly global: GlobalOptions;
  /** The caller's signal, and the time that `--timeout` gives each call. */
  readonly call: CommonOptions;
  /** Opens the chain, within the time of a call; closed again when the command ends, however it ends. */
  readonly open: () => Promise<OpenSession>;
}

export interface OpenSession {
  readonly chain: Chain;
  readonly db: Sync<Raw>;
}

/** Runs a command's work, and closes what it opened. */
export async function withSession<T>(
  io: Io,
  global: GlobalOptions,
  work: (session: Session) => Promise<T>,
): Promise<T> {
  const { json = false, timeout } = global;
  const call: CommonOptions = {
    signal: io.signal,
    timeoutMs: timeout === undefined ? undefined : readDuration("--timeout", timeout),
  };
  let opening: Promise<OpenSession> | undefined;
  let opened: OpenSession | undefined;
  const begin = async (): Promise<OpenSession> => {
    // Imported here, so that help and a misspelt option answer at once.
    const { chooseChain, openChain, rawCodec, syncOver } = await import("./opening.ts");
    const chosen = await chooseChain({
      flag: global.chain,
      configFile: global.config,
      journal: global.journal,
      env: io.env,
      folder: io.folder,
    });
    const chain = await openChain(chosen.spec, {
      base: chosen.base,
      clock: chosen.clock,
      journal: chosen.journal,
      runtime: io.runtime,
      onReport: ({ layer, message, key }) => {
        const what = key === undefined ? message : `${JSON.stringify(key)}: ${message}`;
        void io.stderr.write(`microsync: warning: ${layer}: ${what.replaceAll("\n", " ")}\n`);
      },
    });
    return { chain, db: syncOver(chain, { codec: rawCodec }) as Sync<Raw> };
  };
  const open = async (): Promise<OpenSession> => {
    const { signal, timeoutMs } = call;
    const deadline = timeoutMs === undefined ? undefined : io.runtime.monotonic() + timeoutMs;
    opening ??= begin();
    opened = await forCaller(opening, { signal, deadline }, io.runtime, "the chain", "open");
    return opened;
  };
  try {
    return await work({ io, json, global, call, open });
  } finally {
    if (opened !== undefined) await opened.db.close();
    // What could not be opened in time is not waited for: as a rule the process ends before it can be closed.
    else opening?.then(({ db }) => db.close()).catch(() => undefined);
  }
}
