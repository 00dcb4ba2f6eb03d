import type { Body } from "../body.ts";
import { collected, cut } from "../body.ts";
import { stubOf } from "../entry.ts";
import { SyncError, asSyncError } from "../error.ts";
import type { CallOptions, Store, Write, WriteResult } from "../store.ts";
import { endsAll, sizeOf } from "./content.ts";
import type { Value } from "./content.ts";
import type { Version } from "../version.ts";

/** A value that is brought into memory as a whole for a target that takes no streams has at most so many bytes. */
const COLLECTED_BYTES_MAX = 64 * 1024 * 1024;
const PIECE_BYTES = 64 * 1024;

/**
 * A value as the target takes it: whole, or as a stream where it is too large for that.
 * @param version Another than the source's, for a value that goes over a newer one.
 */
export async function writeOf(
  to: Store,
  value: Value,
  options: CallOptions,
  version: Version = value.entry.version,
): Promise<Write> {
  const { asOf, body } = value;
  const entry = { ...value.entry, version };
  const size = sizeOf(value);
  const { streamBytesMax, valueBytesMax } = to.supports;
  if (body === undefined) {
    const isTooLarge = size > valueBytesMax && size <= streamBytesMax;
    const given = isTooLarge ? { entry: stub(entry), body: bodyFrom(entry.value ?? new Uint8Array()) } : { entry };
    return { ...given, asOf };
  }
  if (size <= streamBytesMax) return { entry: stub(entry), body, asOf };
  if (size > Math.min(valueBytesMax, COLLECTED_BYTES_MAX)) {
    const what = `the value has ${size} bytes, and the target takes no streams of that size`;
    const cure = "leave it out with a filter, or use a target that takes more";
    throw new SyncError("TOO_LARGE", what, { store: to.name, operation: "write", key: entry.key, cure });
  }
  return { entry: { ...entry, state: "value", value: await collected(body, options) }, asOf };
}

function stub(entry: Value["entry"]): Value["entry"] {
  return { ...stubOf(entry), meta: entry.meta };
}

function bodyFrom(bytes: Uint8Array): Body {
  return {
    size: bytes.length,
    sha256: undefined,
    content: ({ start = 0, end = Infinity } = {}) => cut(pieces(bytes), start, Math.min(end, bytes.length)),
  };
}

async function* pieces(bytes: Uint8Array): AsyncGenerator<Uint8Array, void> {
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) yield bytes.subarray(at, at + PIECE_BYTES);
}

/**
 * Writes, and gives each its result. What one write spoils for the others of its call is sent again in halves; a store that
 * does not answer is not asked again here.
 */
export async function sendAll(
  to: Store,
  writes: readonly Write[],
  options: () => CallOptions,
  bytesMax: number,
): Promise<WriteResult[]> {
  const results: WriteResult[] = [];
  for (const group of groupsOf(writes, to.supports.batchMax, bytesMax)) results.push(...(await some(group)));
  return results;

  async function some(group: readonly Write[]): Promise<readonly WriteResult[]> {
    try {
      return await to.write(group, options());
    } catch (thrown) {
      const error = asSyncError(thrown, { store: to.name, operation: "write" });
      if (group.length === 1 || endsAll(error)) return group.map(() => ({ status: "failed", error }));
      const half = Math.ceil(group.length / 2);
      return [...(await some(group.slice(0, half))), ...(await some(group.slice(half)))];
    }
  }
}

/** In their order; a stream goes alone, since its call takes as long as the stream. */
function* groupsOf(writes: readonly Write[], countMax: number, bytesMax: number): Iterable<Write[]> {
  let group: Write[] = [];
  let bytes = 0;
  for (const write of writes) {
    const size = write.body?.size ?? write.entry.value?.length ?? 0;
    const isFull = group.length >= countMax || bytes + size > bytesMax || write.body !== undefined;
    if (isFull && group.length > 0) {
      yield group;
      [group, bytes] = [[], 0];
    }
    group.push(write);
    bytes += write.body === undefined ? size : bytesMax;
  }
  if (group.length > 0) yield group;
}
