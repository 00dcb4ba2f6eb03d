import { createHash } from "node:crypto";

/** What a file says in whose place a large value lies elsewhere. Source: git-lfs, docs/spec.md, "The Pointer". */
export interface Pointer {
  /** SHA-256 of the value, as 64 hexadecimal digits. */
  readonly oid: string;
  /** Of the value, in bytes. */
  readonly size: number;
}

/** A file that is as long is no pointer. */
export const POINTER_BYTES_MAX = 1024;
const TEXT =
  /^version https:\/\/git-lfs\.github\.com\/spec\/v1\n((?:[a-z0-9.-]+ [^\n]*\n)*?)oid sha256:([0-9a-f]{64})\nsize ([0-9]{1,16})\n$/;

export function pointerOf(bytes: Uint8Array): Pointer {
  return { oid: createHash("sha256").update(bytes).digest("hex"), size: bytes.length };
}

/** There is one encoding only, so that one value has one pointer. */
export function encodePointer({ oid, size }: Pointer): Uint8Array {
  return new TextEncoder().encode(`version https://git-lfs.github.com/spec/v1\noid sha256:${oid}\nsize ${size}\n`);
}

/** Undefined for bytes that are no pointer. One with extensions is none either: only its filters know the value. */
export function parsePointer(bytes: Uint8Array): Pointer | undefined {
  if (bytes.length >= POINTER_BYTES_MAX || bytes[0] !== 118) return undefined;
  const match = TEXT.exec(new TextDecoder().decode(bytes));
  if (match === null || match[1] !== "") return undefined;
  const size = Number(match[3]);
  return Number.isSafeInteger(size) ? { oid: match[2] ?? "", size } : undefined;
}
