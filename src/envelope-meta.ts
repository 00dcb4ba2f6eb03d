import { META_BYTES_MAX, META_NAME, NO_META } from "./entry.ts";
import type { Meta } from "./entry.ts";
import { SyncError } from "./error.ts";

/**
 * The metadata block of an envelope: (u16 length, name, u16 length, value)*, big-endian, names ascending, each once.
 *
 * Most entries of a store have the same metadata, as a rule the content type alone: the last block and what it stands
 * for are kept, so that it is neither written nor read twice in a row, and the entries share one object.
 */
let knownMeta: Meta = NO_META;
let knownBlock: Uint8Array = new Uint8Array(0);
/** The name in it, if there is one only. */
let knownOnly: string | undefined;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** More than the largest block, which is 1 KiB of texts and two lengths for each of at most 520 names. */
const scratch = new Uint8Array(8 * META_BYTES_MAX);

/** @param meta passed `checkMeta`. */
export function metaBlock(meta: Meta): Uint8Array {
  if (meta === knownMeta) return knownBlock;
  const names = Object.keys(meta);
  const [only = ""] = names;
  // Each write brings an object of its own.
  if (names.length === 1 && knownOnly === only && knownMeta[only] === meta[only]) return knownBlock;
  let at = 0;
  for (const name of names.sort()) at = writeText(meta[name] ?? "", writeText(name, at));
  const block = scratch.slice(0, at);
  if (Object.isFrozen(meta)) remember(meta, block);
  return block;
}

/** Where the text, put into the scratch behind its length, ends. */
function writeText(text: string, at: number): number {
  const from = at + 2;
  let end = from;
  if (3 * text.length > scratch.length - from) throw new SyncError("INTERNAL", "metadata was not checked");
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit >= 0x80) {
      end = from + encoder.encodeInto(text, scratch.subarray(from)).written;
      break;
    }
    scratch[end++] = unit;
  }
  scratch[at] = (end - from) >>> 8;
  scratch[at + 1] = (end - from) & 255;
  return end;
}

/** The metadata in `bytes[from..to)`, frozen; undefined when it is not exactly what {@link metaBlock} writes. */
export function readMeta(bytes: Uint8Array, from: number, to: number): Meta | undefined {
  if (isKnown(bytes, from, to)) return knownMeta;
  const meta: Record<string, string> = {};
  let last = "";
  let total = 0;
  for (let at = from; at < to;) {
    const nameAt = at + 2;
    const valueAt = nameAt + lengthAt(bytes, at) + 2;
    if (valueAt > to) return undefined;
    at = valueAt + lengthAt(bytes, valueAt - 2);
    total += at - nameAt - 2;
    if (at > to || total > META_BYTES_MAX) return undefined;
    const name = decode(bytes.subarray(nameAt, valueAt - 2));
    const value = decode(bytes.subarray(valueAt, at));
    if (name === undefined || value === undefined || !META_NAME.test(name) || name <= last) return undefined;
    last = name;
    meta[name] = value;
  }
  remember(Object.freeze(meta), bytes.slice(from, to));
  return meta;
}

function remember(meta: Meta, block: Uint8Array): void {
  const names = Object.keys(meta);
  knownOnly = names.length === 1 ? names[0] : undefined;
  knownMeta = meta;
  knownBlock = block;
}

function isKnown(bytes: Uint8Array, from: number, to: number): boolean {
  if (knownBlock.length !== to - from) return false;
  for (let i = 0; i < knownBlock.length; i++) if (knownBlock[i] !== bytes[from + i]) return false;
  return true;
}

function lengthAt(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
}

function decode(bytes: Uint8Array): string | undefined {
  try {
    return decoder.decode(bytes);
  } catch {
    return undefined; // not UTF-8
  }
}
