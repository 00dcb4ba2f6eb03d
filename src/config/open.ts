import { resolve } from "node:path";
import { chain } from "../chain/chain.ts";
import type { Chain, ChainOptions } from "../chain/chain.ts";
import { layer } from "../chain/layer.ts";
import type { LayerSpec } from "../chain/layer.ts";
import type { Codec } from "../codec.ts";
import { SyncError, asSyncError } from "../error.ts";
import type { Runtime } from "../runtime.ts";
import type { Store } from "../store.ts";
import { syncOver } from "../sync.ts";
import type { Sync } from "../sync.ts";
import { systemRuntime } from "../system.ts";
import { versionClock } from "../version.ts";
import { clockFile } from "./clock-file.ts";
import { openFolder } from "./journal-folder.ts";
import type { JournalFolder } from "./journal-folder.ts";
import { planLayer } from "./layer-url.ts";
import { spoolFolder } from "./spool-folder.ts";
import { schemesWith } from "./schemes.ts";
import type { OpenContext, Schemes } from "./schemes.ts";
import { words } from "./words.ts";

/** A whole chain as one text, or one layer each: its URL, a store, or a store with options. */
export type ChainSpec = string | readonly (string | Store | LayerSpec)[];

/** The embedded chain: what is opened when nothing is said. */
export const DEFAULT_CHAIN = "memory: lmdb:./.sync/cache git:./truth.git";
/** Where the bound of the clock is kept when nothing is said, relative to the folder of the chain. */
export const DEFAULT_CLOCK = ".sync/clock";

export interface OpenOptions extends Omit<ChainOptions, "runtime" | "clock" | "journal"> {
  /**
   * The file that keeps this node's clock from going back over a restart; false for none. Default `./.sync/clock`
   * when some layer is durable. Created by the first write.
   */
  readonly clock?: string | false | undefined;
  /** The folder that relative paths are relative to. Default: the working directory. */
  readonly base?: string | undefined;
  /** Default: the built-in ones, `schemesWith()`. */
  readonly schemes?: Schemes | undefined;
  readonly codec?: Codec | undefined;
  /** Default: the platform's. */
  readonly runtime?: Runtime | undefined;
  /**
   * The folder where writes are durable before any layer has them, with limits; false for none, the default: a write is
   * then acknowledged when every layer has it. One process at a time owns the folder.
   */
  readonly journal?: string | JournalFolder | false | undefined;
}

/**
 * Opens a chain of layers. When one cannot be opened, those before it are closed again and what they created is removed.
 * @throws SyncError INVALID for what is wrong with the chain's text; what the stores say of their places.
 */
export async function open(spec: ChainSpec = DEFAULT_CHAIN, options: OpenOptions = {}): Promise<Sync> {
  return syncOver(await openChain(spec, options), { codec: options.codec });
}

/** As {@link open}, for who wants the chain itself. */
export async function openChain(spec: ChainSpec, options: OpenOptions = {}): Promise<Chain> {
  refuseUnknown(options);
  const { base = process.cwd(), schemes = schemesWith(), runtime = systemRuntime } = options;
  const layers = typeof spec === "string" ? words(spec) : spec;
  if (layers.length === 0) {
    throw new SyncError("INVALID", "the chain has no layers", { cure: `name at least one, as in ${DEFAULT_CHAIN}` });
  }
  const plans = layers.map((part, index) => {
    if (typeof part !== "string") return part;
    return planLayer(part, schemes, index === layers.length - 1);
  });
  const durable =
    hasJournal(options) || plans.some((plan) => ("url" in plan ? plan.durable : storeOf(plan).supports.durable));
  const { clock: file = durable ? DEFAULT_CLOCK : false, skewMaxMs } = options;
  const bound = file === false ? undefined : clockFile(resolve(base, file));
  const clock = await versionClock({ runtime, bound, skewMaxMs });
  const context: OpenContext = { runtime, clock, base, report: options.onReport ?? (() => undefined) };

  const opened: Takeable[] = [];
  try {
    const specs: LayerSpec[] = [];
    for (const plan of plans) {
      if ("url" in plan) {
        const mine = await plan.open(context);
        opened.push(mine);
        specs.push(mine.spec);
      } else {
        specs.push("store" in plan ? plan : layer(plan));
      }
    }
    const { journal: folder = false } = options;
    const journal = folder === false ? undefined : await openFolder(folder, base, runtime);
    if (journal !== undefined) opened.push(journal);
    // A journal has a folder of its own for what comes as a stream.
    const spool = journal === undefined ? (options.spool ?? spoolFolder(runtime)) : undefined;
    return chain(specs, { ...chainOptions(options), runtime, clock, journal: journal?.journal, spool });
  } catch (error) {
    throw await takeBack(opened, error);
  }
}

function hasJournal({ journal = false }: OpenOptions): boolean {
  return journal !== false;
}

/** What was opened and may have to be given back. */
interface Takeable {
  readonly store: { readonly name: string; close(): Promise<void> };
  readonly undo?: () => Promise<void>;
}

function storeOf(plan: Store | LayerSpec): Store {
  return "store" in plan ? plan.store : plan;
}

/** Closes what was opened, the last first. @returns the error that made it necessary. */
async function takeBack(opened: readonly Takeable[], reason: unknown): Promise<unknown> {
  const left: string[] = [];
  for (const { store, undo } of opened.toReversed()) {
    try {
      await store.close();
      await undo?.();
    } catch (error) {
      left.push(asSyncError(error, { store: store.name }).message);
    }
  }
  if (left.length === 0) return reason;
  const error = asSyncError(reason);
  return new SyncError(error.code, `${error.message}; and it could not be taken back: ${left.join("; ")}`, {
    cause: error,
  });
}

function chainOptions({
  name,
  negativeTtlMs,
  retentionMs,
  collectIntervalMs,
  skewMaxMs,
  ack,
  syncIntervalMs,
  syncMultiplier,
  drainMs,
  wholeBytesMax,
  spoolBytesMax,
  onReport,
}: OpenOptions): Omit<ChainOptions, "runtime" | "clock"> {
  const behind = { ack, syncIntervalMs, syncMultiplier, drainMs, wholeBytesMax, spoolBytesMax };
  const given = { name, negativeTtlMs, retentionMs, collectIntervalMs, skewMaxMs, onReport, ...behind };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
}

const OPTIONS = [
  "ack",
  "base",
  "clock",
  "codec",
  "collectIntervalMs",
  "drainMs",
  "journal",
  "name",
  "negativeTtlMs",
  "onReport",
  "retentionMs",
  "runtime",
  "schemes",
  "skewMaxMs",
  "spool",
  "spoolBytesMax",
  "syncIntervalMs",
  "syncMultiplier",
  "wholeBytesMax",
];

function refuseUnknown(options: OpenOptions): void {
  for (const name of Object.keys(options)) {
    if (OPTIONS.includes(name)) continue;
    throw new SyncError("INVALID", `there is no option ${JSON.stringify(name)}`, {
      operation: "open",
      cure: `open takes ${OPTIONS.join(", ")}`,
    });
  }
}
