import { deflateRawSync, inflateRawSync } from "node:zlib";
import type { Compression } from "./envelope.ts";

/** Level 3: on JSON documents within a third of the best ratio at a third of its time. */
const LEVEL = 3;
/** Node takes no smaller output chunk. */
const CHUNK_BYTES_MIN = 64;

/** Raw DEFLATE by Node's zlib. Synchronous: a value is compressed in tens of microseconds, a thread hop costs more. */
export const zlibCompression: Compression = {
  deflate: (bytes) => own(deflateRawSync(bytes, { level: LEVEL })),
  inflate(bytes, lengthMax) {
    // One chunk of the claimed size holds the whole output, and an output beyond it is refused without being made.
    const chunkSize = Math.max(lengthMax, CHUNK_BYTES_MIN);
    return own(inflateRawSync(bytes, { chunkSize, maxOutputLength: Math.max(lengthMax, 1) }));
  },
};

/** The bytes as a plain Uint8Array that keeps no larger buffer alive. */
function own(bytes: Buffer): Uint8Array {
  if (bytes.byteLength === bytes.buffer.byteLength) return new Uint8Array(bytes.buffer);
  return new Uint8Array(bytes);
}
