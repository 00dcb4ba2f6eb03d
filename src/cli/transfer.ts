import { readOption } from "../config/values.ts";
import { SyncError } from "../error.ts";
import { SessionError } from "../session/index.ts";
import type { CopyOptions, MirrorOptions, SessionEvent, SessionOptions, SessionResult } from "../session/index.ts";
import type { Store } from "../store.ts";
import type { VersionClock } from "../version.ts";
import { EXIT, EXIT_OK } from "./exit.ts";
import { OutputClosed } from "./io.ts";
import { jsonLine } from "./lines.ts";
import { bytesText, countText, progress } from "./progress.ts";
import type { Session } from "./session.ts";
import { clockOf, openSide, positionFile } from "./sides.ts";

export interface TransferFlags {
  readonly prefix?: string;
  readonly glob?: readonly string[];
  readonly exclude?: readonly string[];
  readonly minSize?: string;
  readonly maxSize?: string;
  readonly minAge?: string;
  readonly maxAge?: string;
  readonly compare?: string;
  readonly parallel?: string;
  readonly dryRun?: boolean;
  readonly fromStart?: boolean;
  readonly maxDelete?: string;
}

/** The options that `copy`, `mirror` and `diff` share. @throws SyncError INVALID */
export function optionsOf({ call, io }: Session, flags: TransferFlags): SessionOptions {
  const { prefix, glob, exclude, compare } = flags;
  const number = (name: string, text: string | undefined, kind: "size" | "duration" | "count") =>
    text === undefined ? undefined : Number(readOption(name, [text], kind));
  if (compare !== undefined && compare !== "auto" && compare !== "version" && compare !== "content") {
    throw new SyncError("INVALID", `option --compare is ${JSON.stringify(compare)}`, {
      cure: "it takes auto, version or content",
    });
  }
  return {
    prefix,
    glob,
    exclude,
    compare,
    minBytes: number("--min-size", flags.minSize, "size"),
    maxBytes: number("--max-size", flags.maxSize, "size"),
    minAgeMs: number("--min-age", flags.minAge, "duration"),
    maxAgeMs: number("--max-age", flags.maxAge, "duration"),
    parallel: number("--parallel", flags.parallel, "count"),
    timeoutMs: call.timeoutMs,
    signal: io.signal,
    runtime: io.runtime,
  };
}

type Work = (from: Store, to: Store, options: CopyOptions & { readonly clock: VersionClock }) => Promise<SessionResult>;

/** Runs a copy or a mirror between what two words name. @returns the exit status. */
export async function transfer(
  session: Session,
  verb: "copy" | "mirror",
  [from = "", to = ""]: readonly string[],
  flags: TransferFlags,
  work: Work,
): Promise<number> {
  const { io } = session;
  const options = optionsOf(session, flags);
  const { dryRun = false } = flags;
  const clock = await clockOf(io);
  const keeper = positionFile(io, verb, from, to);
  if (flags.fromStart === true && !dryRun) await keeper.clear();
  const teller = tellerOf(session, verb, to === "-");
  const stores: Store[] = [];
  try {
    stores.push(await openSide(io, from, "read", clock));
    stores.push(await openSide(io, to, dryRun ? "try" : "write", clock));
    const [source, target] = stores as [Store, Store];
    // Lines come into being as a whole, at the end: there is nothing to go on with.
    const position = target.name === to ? undefined : keeper;
    const result = await work(source, target, {
      ...options,
      dryRun,
      position,
      clock,
      onEvent: (event) => teller.event(event),
    });
    await teller.end(result, undefined);
    return EXIT_OK;
  } catch (error) {
    if (!(error instanceof SessionError)) throw error;
    await teller.end(error.result, error);
    return EXIT[error.code];
  } finally {
    await teller.clear();
    for (const store of stores.toReversed()) await store.close();
  }
}

/** How many failures are told one by one; `--json` tells all. */
const TOLD_MAX = 20;

/** What is said of it: lines of JSON, or a bar on a terminal and a sum at the end. */
function tellerOf({ io, json }: Session, verb: "copy" | "mirror", isOutputTaken: boolean) {
  const shown = progress(io);
  const out = isOutputTaken ? io.stderr : io.stdout;
  let isClosed = false;
  // Whoever read our output has had enough: the work goes on without it.
  const say = async (output: typeof out, text: string) => {
    if (isClosed) return;
    await output.write(text).catch((error: unknown) => {
      if (!(error instanceof OutputClosed)) throw error;
      isClosed = true;
    });
  };
  let told = 0;
  return {
    async event(event: SessionEvent): Promise<void> {
      if (event.kind === "progress") {
        shown.tell(() => bar(verb, event));
        return;
      }
      const { key, action, bytes, dryRun, error } = event;
      if (json) {
        const failure = error === undefined ? {} : { code: error.code, message: error.message };
        await say(out, jsonLine({ key, action, ...(action === "copied" ? { bytes } : {}), dryRun, ...failure }));
      } else if (error !== undefined) {
        if (++told <= TOLD_MAX)
          await say(io.stderr, `microsync: ${JSON.stringify(key)} failed: ${oneLine(error.message)}\n`);
      } else if (dryRun && action !== "kept") {
        await say(out, `would be ${action}: ${key}\n`);
      }
    },
    async end(result: SessionResult, error: SessionError | undefined): Promise<void> {
      await shown.clear();
      const { dryRun, resumedAfter = null, ...stats } = result;
      const ended = error === undefined ? {} : { error: { code: error.code, message: error.message } };
      if (json) return say(out, jsonLine({ verb, dryRun, resumedAfter, ...stats, ...ended }));
      if (told > TOLD_MAX) await io.stderr.write(`microsync: and ${told - TOLD_MAX} more failed (--json tells all)\n`);
      await io.stderr.write(`${summary(verb, result)}\n`);
      if (error !== undefined && error.failures[0]?.error !== error.cause) {
        await io.stderr.write(`microsync: ${oneLine(error.message)}\n`);
      }
    },
    clear: () => shown.clear(),
  };
}

function oneLine(text: string): string {
  return text.replaceAll(/\s*\n\s*/g, " ");
}

const BAR_UNITS = 20;

function bar(verb: string, { phase, stats, total }: Extract<SessionEvent, { kind: "progress" }>): string {
  const { keys, copied, deleted, bytes } = stats;
  if (phase === "planning") return `${verb}: looking at what there is to do`;
  const done = `${countText(copied, "key")} copied, ${bytesText(bytes)}${deleted === 0 ? "" : `, ${deleted} deleted`}`;
  if (total === undefined || total === 0) return `${verb}: ${countText(keys, "key")} looked at, ${done}`;
  const share = Math.min(1, keys / total);
  const filled = Math.round(share * BAR_UNITS);
  const drawn = "#".repeat(filled).padEnd(BAR_UNITS, ".");
  return `${verb}: [${drawn}] ${Math.floor(share * 100)} %, ${done}`;
}

function summary(verb: string, result: SessionResult): string {
  const { copied, bytes, same, kept, deleted, failed, dryRun } = result;
  const parts = [
    `${countText(copied, "key")} copied, ${bytesText(bytes)}`,
    `${same} the same`,
    ...(kept === 0 ? [] : [`${kept} newer in the target`]),
    ...(verb === "mirror" ? [`${deleted} deleted`] : []),
    ...(failed === 0 ? [] : [`${failed} failed`]),
  ];
  return `${dryRun ? "dry run: " : ""}${parts.join("; ")}`;
}

/** @throws SyncError INVALID */
export function maxDeleteOf(text: string | undefined): MirrorOptions["maxDelete"] {
  if (text === undefined) return undefined;
  if (/^\d{1,15}$/.test(text)) return Number(text);
  if (/^\d{1,3}(?:\.\d+)?%$/.test(text)) return text as `${number}%`;
  throw new SyncError("INVALID", `option --max-delete is ${JSON.stringify(text.slice(0, 64))}`, {
    cure: "it takes a number of keys, or a share of the target such as 50%",
  });
}
