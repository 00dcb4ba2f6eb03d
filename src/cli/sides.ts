import { createHash } from "node:crypto";
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { clockFile } from "../config/clock-file.ts";
import { hasCode } from "../config/folders.ts";
import { planLayer } from "../config/layer-url.ts";
import { DEFAULT_CLOCK, openChain } from "../config/open.ts";
import { schemesWith } from "../config/schemes.ts";
import type { OptionValue } from "../config/values.ts";
import { words } from "../config/words.ts";
import { SyncError } from "../error.ts";
import type { PositionKeeper } from "../session/index.ts";
import type { Store } from "../store.ts";
import { memory } from "../stores/memory.ts";
import { versionClock } from "../version.ts";
import type { VersionClock } from "../version.ts";
import type { Io } from "./io.ts";
import { ndjsonStore } from "./ndjson-store.ts";

/** "read": nothing is written there, nor created. "try": the same, and what is not there counts as empty. */
type Use = "read" | "write" | "try";

/**
 * What a side of a copy is named by: a store's URL, several of them for a chain, a file of lines (`.ndjson`, `.jsonl`), or `-`
 * for standard input or output.
 */
export async function openSide(io: Io, spec: string, use: Use, clock: VersionClock): Promise<Store> {
  if (spec === "-" || /\.(?:ndjson|jsonl)$/i.test(spec)) {
    return ndjsonStore({ io, place: spec, path: resolve(io.folder, spec), writes: use === "write" || use === "try" });
  }
  const urls = words(spec);
  const [url = ""] = urls;
  if (urls.length === 1) return openOne(io, url, use, clock);
  const onReport = ({ layer, message }: { readonly layer: string; readonly message: string }) =>
    warn(io, layer, message);
  return openChain(urls, { base: io.folder, runtime: io.runtime, onReport });
}

async function openOne(io: Io, url: string, use: Use, clock: VersionClock): Promise<Store> {
  const plan = planLayer(url, schemesWith(), true, (_given, { options }) => {
    const values = new Map<string, OptionValue>();
    if (use === "write") return values;
    values.set("readonly", true);
    if ("create" in options) values.set("create", false);
    return values;
  });
  const report = ({ layer, message }: { readonly layer: string; readonly message: string }) => warn(io, layer, message);
  try {
    return (await plan.open({ runtime: io.runtime, clock, base: io.folder, report })).store;
  } catch (error) {
    if (use !== "try" || !(error instanceof SyncError) || error.code !== "NOT_FOUND") throw error;
    return memory({ runtime: io.runtime, name: plan.url.text });
  }
}

function warn(io: Io, layer: string, message: string): void {
  void io.stderr.write(`microsync: warning: ${layer}: ${message.replaceAll("\n", " ")}\n`);
}

export function clockOf(io: Io): Promise<VersionClock> {
  return versionClock({ runtime: io.runtime, bound: clockFile(resolve(io.folder, DEFAULT_CLOCK)) });
}

/** The position of an interrupted session, in a file of the working folder's `.sync`, by what is done between what. */
export function positionFile(io: Io, verb: string, from: string, to: string): PositionKeeper {
  const name = createHash("sha256")
    .update(JSON.stringify([verb, from, to]))
    .digest("hex")
    .slice(0, 24);
  const path = join(io.folder, ".sync", "sessions", `${name}.json`);
  const refused = (cause: unknown) =>
    new SyncError("UNAVAILABLE", `${path} cannot be written`, {
      cure: "run it in a folder that can be written",
      retryable: false,
      cause,
    });
  return {
    async load() {
      try {
        return await readFile(path, "utf8");
      } catch (error) {
        if (hasCode(error, "ENOENT", "ENOTDIR")) return undefined;
        throw refused(error);
      }
    },
    async save(position) {
      try {
        await mkdir(dirname(path), { recursive: true });
        await writeFile(`${path}.${process.pid}.tmp`, position);
        await rename(`${path}.${process.pid}.tmp`, path);
      } catch (error) {
        throw refused(error);
      }
    },
    async clear() {
      await rm(path, { force: true }).catch((error: unknown) => {
        throw refused(error);
      });
    },
  };
}
