import { ackOf } from "../chain/ack.ts";
import type { Chain, ChainWriteOptions } from "../chain/chain.ts";
import { META_BYTES_MAX, NO_META, checkMeta } from "../entry.ts";
import type { Entry, Meta } from "../entry.ts";
import { SyncError } from "../error.ts";
import type { Runtime } from "../runtime.ts";
import type { ReadOptions, WriteResult } from "../store.ts";
import type { Version } from "../version.ts";
import { callOptions } from "./wait.ts";
import type { AckOptions, Freshness, GetOptions, LifeOptions, Written } from "./types.ts";

/** What a read without options asks for. */
export const CACHED: ReadOptions = Object.freeze({});

/** What a write without options asks for. */
const GIVEN: ChainWriteOptions = Object.freeze({ givesBytes: true });

/** What people's options say to the chain. @throws SyncError INVALID. */
export function readOptions(runtime: Runtime, options: GetOptions | undefined): ReadOptions {
  if (options === undefined) return CACHED;
  const call = callOptions(runtime, options);
  return { ...call, ...freshnessOptions(options.freshness) };
}

function freshnessOptions(freshness: Freshness | undefined): ReadOptions {
  if (freshness === undefined || freshness === "cached") return {};
  if (freshness === "authority") return { authority: true };
  const maxAgeMs = typeof freshness === "object" && freshness !== null ? freshness.maxAgeMs : Number.NaN;
  if (!(maxAgeMs >= 0)) {
    throw new SyncError("INVALID", "freshness is not one", {
      cure: 'give "cached", "authority" or { maxAgeMs: a number of 0 or more }',
    });
  }
  return { maxAgeMs };
}

/**
 * For writes of what a codec made, or was put together from pieces: its bytes are nobody else's.
 * @throws SyncError UNSUPPORTED or INVALID for a level the chain does not have.
 */
export function ackOptions(chain: Chain, runtime: Runtime, options: AckOptions | undefined): ChainWriteOptions {
  if (options === undefined) return GIVEN;
  const { ack } = options;
  const call = callOptions(runtime, options);
  if (ack !== undefined) ackOf(chain, ack, chain.journal !== undefined);
  return { ...call, ack, givesBytes: true };
}

/** When a value written now ends, in Unix milliseconds. @throws SyncError INVALID. */
export function expiryOf(runtime: Runtime, { ttlMs, expires }: LifeOptions): number | null {
  if (ttlMs !== undefined && expires !== undefined) {
    throw new SyncError("INVALID", "ttlMs and expires are both given", { operation: "set", cure: "give one of them" });
  }
  if (ttlMs !== undefined) {
    const end = Math.ceil(runtime.now() + ttlMs);
    if (!(ttlMs > 0) || !Number.isSafeInteger(end)) {
      throw new SyncError("INVALID", "ttlMs is a number of milliseconds above 0", {
        operation: "set",
        cure: "leave it out for a value that stays, or delete the key",
      });
    }
    return end;
  }
  if (expires === undefined || expires === null) return null;
  if (!Number.isSafeInteger(expires) || expires < 0) {
    throw new SyncError("INVALID", "expires is a whole number of Unix milliseconds or null", { operation: "set" });
  }
  return expires;
}

/** Metadata of a value: the caller's, copied, with the codec's content type. @throws SyncError INVALID or TOO_LARGE. */
export function metaOf(own: Meta | undefined, contentType: string | undefined): Meta {
  if (own !== undefined && Object.hasOwn(own, "content-type")) {
    throw new SyncError("INVALID", "meta holds a content-type, which belongs to the codec", {
      operation: "set",
      cure: `leave it out; names and values together have at most ${META_BYTES_MAX} bytes`,
    });
  }
  if (own === undefined && contentType === undefined) return NO_META;
  if (own === undefined && typeMeta["content-type"] === contentType) return typeMeta;
  const meta: Meta = Object.freeze({ ...own, ...(contentType === undefined ? {} : { "content-type": contentType }) });
  checkMeta(meta);
  if (own === undefined) typeMeta = meta;
  return meta;
}

/** The last metadata of nothing but a content type: values of one kind share theirs, which is checked once. */
let typeMeta: Meta = NO_META;

/** What a write came to, or its error. */
export function outcome(entry: Entry, result: WriteResult | undefined, operation: string): Written | SyncError {
  const { key, version, expires } = entry;
  switch (result?.status) {
    case "stored":
      return { version, expires, supersededBy: undefined };
    case "superseded":
      return { version, expires, supersededBy: result.by };
    case "conflict":
      return new SyncError("CONFLICT", conflictText(result.current), {
        operation,
        key,
        cure: "read it again and decide anew, or use update",
      });
    case "too-old":
      return new SyncError("TOO_OLD", "the write is older than what was removed for good", { operation, key });
    case "failed":
      return result.error;
    case undefined:
      return new SyncError("INTERNAL", "the chain gave no result for a write", { operation, key });
  }
}

function conflictText(current: Entry | undefined): string {
  if (current === undefined) return "the condition does not hold: the key has no value";
  if (current.state === "deleted") return `the condition does not hold: the key was deleted at ${current.version}`;
  return `the condition does not hold: the key is at version ${current.version}`;
}

/** @throws SyncError of a write that failed. */
export function written(entry: Entry, result: WriteResult | undefined, operation: string): Written {
  const what = outcome(entry, result, operation);
  if (what instanceof SyncError) throw what;
  return what;
}

/** A condition of a call as the chain takes it. @throws SyncError INVALID when both are given. */
export function conditionOf(
  { ifAbsent, ifVersion }: { readonly ifAbsent?: boolean | undefined; readonly ifVersion?: Version | undefined },
  key: string,
): "absent" | Version | undefined {
  if (ifAbsent === true && ifVersion !== undefined) {
    throw new SyncError("INVALID", "ifAbsent and ifVersion are both given", {
      operation: "set",
      key,
      cure: "give one",
    });
  }
  return ifAbsent === true ? "absent" : ifVersion;
}
