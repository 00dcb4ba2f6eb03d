import type { StandardSchemaV1 } from "@standard-schema/spec";
import { cloneValue } from "../codec.ts";
import type { Codec } from "../codec.ts";
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

/**
 * A value as memory keeps it beside its bytes, or as one caller is about to get it. A class for its one shape: the hot
 * path reads its fields.
 */
export class Kept {
  readonly lens: Lens;
  readonly value: unknown;
  /** See `share.ts`. "none" is given to one caller and never kept. */
  readonly sharing: Sharing;
  /** What the value takes of the heap, in bytes. */
  readonly bytes: number;

  constructor(lens: Lens, value: unknown, sharing: Sharing, bytes: number) {
    this.lens = lens;
    this.value = value;
    this.sharing = sharing;
    this.bytes = bytes;
  }

  /** The reader's own: the frozen value, or a copy. */
  give(): unknown {
    return this.sharing === "clone" ? cloneValue(this.value) : this.value;
  }
}

/**
 * An entry's value as the lens sees it; a promise only when the schema's check is one.
 * @throws SyncError CORRUPT when the bytes do not decode or the schema refuses the value.
 */
export function decodeThrough(lens: Lens, entry: Entry, operation: "read" | "set" = "read"): Kept | Promise<Kept> {
  const { codec, schema } = lens;
  const { value: bytes, meta, key } = entry;
  if (bytes === null) {
    throw new SyncError("UNAVAILABLE", "the value is in a layer that did not answer", { operation, key });
  }
  const decoded = codec.decode(bytes, meta, key);
  if (schema === undefined) return new Kept(lens, decoded.value, decoded.sharing, decoded.bytes);
  // A copy, which the schema may change in place.
  const made = check(schema, cloneValue(decoded.value), key, operation);
  return made instanceof Promise ? made.then((value: unknown) => judged(lens, value)) : judged(lens, made);
}

function judged(lens: Lens, value: unknown): Kept {
  const { sharing, bytes } = share(value);
  return new Kept(lens, value, sharing, bytes);
}
