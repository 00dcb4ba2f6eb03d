import type { StandardSchemaV1 } from "@standard-schema/spec";
import { cloneValue, decode, decodeText } from "../codec.ts";
import type { Codec, Decoded, Encoded } from "../codec.ts";
import type { Entry } from "../entry.ts";
import { SyncError } from "../error.ts";
import { check } from "./schema.ts";
import { share } from "./share.ts";
import type { Sharing } from "./share.ts";

/**
 * How one view sees values: its codec and schema. Views with the same lens object share what memory keeps decoded;
 * others never get each other's.
 */
export interface Lens {
  readonly codec: Codec;
  readonly schema: StandardSchemaV1 | undefined;
}

/** An entry, or what memory keeps of it: its value may be there as a text. */
export interface Valued extends Pick<Entry, "key" | "meta" | "value"> {
  readonly text?: string | undefined;
  readonly size?: number | undefined;
}

/** A promise and the object that has it. */
const PROMISE_BYTES = 96;

/**
 * A value as memory keeps it beside its bytes, or as one caller is about to get it. A class for its one shape: the hot
 * path reads its fields.
 */
export class Kept {
  readonly lens: Lens;
  readonly value: unknown;
  readonly isShared: boolean;
  /** What every reader of a shared value waits for: made once, so that a hit makes nothing. */
  promise: Promise<unknown> | undefined = undefined;
  /** See `share.ts`. "none" is given to one caller and never kept. */
  readonly sharing: Sharing;
  /** What the value takes of the heap, in bytes. */
  readonly bytes: number;

  constructor(lens: Lens, value: unknown, sharing: Sharing, bytes: number) {
    this.lens = lens;
    this.value = value;
    this.sharing = sharing;
    this.bytes = bytes + PROMISE_BYTES;
    this.isShared = sharing === "shared";
  }

  /** The reader's own: the frozen value, or a copy. */
  give(): unknown {
    return this.sharing === "cloned" ? cloneValue(this.value) : this.value;
  }

  /** The same, as a promise. */
  async giveLater(): Promise<unknown> {
    if (!this.isShared) return this.give();
    this.promise ??= Promise.resolve(this.value);
    return this.value;
  }
}

/**
 * An entry's value as the lens sees it; a promise only when the schema's check is one.
 * @throws SyncError CORRUPT when the bytes do not decode or the schema refuses the value.
 */
export function decodeThrough(lens: Lens, entry: Valued, operation: "read" | "set" = "read"): Kept | Promise<Kept> {
  const { schema } = lens;
  const { key } = entry;
  const decoded = decodeWith(lens, entry, operation);
  if (schema === undefined) return new Kept(lens, decoded.value, decoded.sharing, decoded.bytes);
  // A copy, which the schema may change in place.
  const made = check(schema, cloneValue(decoded.value), key, operation);
  return made instanceof Promise ? made.then((value: unknown) => judged(lens, value)) : judged(lens, made);
}

function judged(lens: Lens, value: unknown): Kept {
  const { sharing, bytes } = share(value);
  return new Kept(lens, value, sharing, bytes);
}

/** A value's bytes and their type. @throws SyncError INVALID or TOO_LARGE, naming the key. */
export function encodeThrough(lens: Lens, key: string, value: unknown): Encoded {
  try {
    return lens.codec.encode(value);
  } catch (thrown) {
    throw ofKey(thrown, key, "set");
  }
}

function decodeWith({ codec }: Lens, entry: Valued, operation: "read" | "set"): Decoded {
  const { key, meta, text, size } = entry;
  const type = meta["content-type"];
  try {
    if (text !== undefined && size !== undefined && codec.decode === decode) return decodeText(text, size, type);
    const { value } = entry;
    if (value !== null) return codec.decode(value, type);
  } catch (thrown) {
    throw ofKey(thrown, key, operation);
  }
  throw new SyncError("UNAVAILABLE", "the value is in a layer that did not answer", { operation, key });
}

/** A codec knows the value only: its errors are given the key. */
function ofKey(thrown: unknown, key: string, operation: "read" | "set"): SyncError {
  if (!(thrown instanceof SyncError)) {
    const what = `the codec failed to ${operation === "read" ? "decode" : "encode"} the value`;
    // A stranger's message may quote the value: it stays with the cause.
    return new SyncError(operation === "read" ? "CORRUPT" : "INVALID", what, { operation, key, cause: thrown });
  }
  if (thrown.key !== undefined) return thrown;
  const { code, what, cure, retryable } = thrown;
  return new SyncError(code, what, { operation, key, cure, cause: thrown, retryable });
}
