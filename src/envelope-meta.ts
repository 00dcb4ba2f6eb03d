import { META_BYTES_MAX, META_NAME, NO_META } from "./entry.ts";
import type { Meta } from "./entry.ts";

/**
 * The metadata block of an envelope: (u16 length, name, u16 length, value)*, big-endian, names ascending, each once.
 *
 * Most entries of a store have the same metadata, as a rule the content type alone: the last block and what it stands
 * for are kept, so that it is neither written nor read twice in a row, and the entries share one object.
 */
let knownMeta: Meta = NO_META;
let knownBlock: Uint8Array = new Uint8Array(0);

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** @param meta passed `checkMeta`. */
export function metaBlock(meta: Meta): Uint8Array {
  if (meta === knownMeta) return knownBlock;
  const texts = Object.entries(meta)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .flat()
    .map((text) => encoder.encode(text));
  const block = new Uint8Array(texts.reduce((sum, text) => sum + 2 + text.length, 0));
  let at = 0;
  for (const text of texts) {
    block[at] = text.length >>> 8;
    block[at + 1] = text.length & 255;
    block.set(text, at + 2);
    at += 2 + text.length;
  }
  if (Object.isFrozen(meta)) remember(meta, block);
  return block;
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
