import { NO_META } from "../../src/entry.ts";
import { HITS_MAX, S3FifoQueue } from "../../src/stores/memory/s3fifo.ts";
import { SharedMeta } from "../../src/stores/memory/shared-meta.ts";
import { MemorySlot } from "../../src/stores/memory/slot.ts";
import { VERSION_ZERO } from "../../src/version.ts";

const NONE = new SharedMeta(NO_META);

/** A cache without values: what counts is who stays. */
export interface Cache {
  /** Whether the key is there; counts as a hit. */
  get(key: number): boolean;
  /** Adds a key that is not there, and evicts for it. Larger than the capacity: left out. */
  add(key: number, size: number): void;
}

/** The one that memory uses, with its own slots and queue. */
function s3fifo(capacity: number): Cache {
  const slots = new Map<number, MemorySlot>();
  const queue = new S3FifoQueue();
  const rest = { state: "deleted", version: VERSION_ZERO, expires: null } as const;
  let used = 0;
  return {
    get(key) {
      const slot = slots.get(key);
      if (slot === undefined) return false;
      if (slot.hits < HITS_MAX) slot.hits++;
      return true;
    },
    add(key, size) {
      if (size > capacity) return;
      while (used + size > capacity) {
        const victim = queue.victim(undefined) as MemorySlot;
        queue.remove(victim);
        slots.delete(victim.change);
        used -= victim.bytes;
      }
      const slot = new MemorySlot({ key: String(key), ...rest }, NONE, null, 0, 0, size, key, 0);
      queue.add(slot);
      slots.set(key, slot);
      used += size;
    },
  };
}

interface Node {
  readonly key: number;
  readonly size: number;
  visited: boolean;
  newer: Node | undefined;
  older: Node | undefined;
}

/**
 * One queue. To evict, a hand walks from the oldest entry to the newest, clears the bit that a hit set and takes the
 * first entry whose bit is clear; the next time it goes on from there.
 *
 * Source: Zhang, Yang, Yue, Vigfusson, Rashmi: "SIEVE is Simpler than LRU", NSDI '24.
 */
function sieve(capacity: number): Cache {
  const nodes = new Map<number, Node>();
  let newest: Node | undefined;
  let oldest: Node | undefined;
  let hand: Node | undefined;
  let used = 0;
  /** @returns the bytes that were freed. */
  const evict = (): number => {
    let node = (hand ?? oldest) as Node;
    while (node.visited) {
      node.visited = false;
      node = (node.newer ?? oldest) as Node;
    }
    const { newer, older } = node;
    hand = newer;
    if (newer === undefined) newest = older;
    else newer.older = older;
    if (older === undefined) oldest = newer;
    else older.newer = newer;
    nodes.delete(node.key);
    return node.size;
  };
  return {
    get(key) {
      const node = nodes.get(key);
      if (node === undefined) return false;
      node.visited = true;
      return true;
    },
    add(key, size) {
      if (size > capacity) return;
      while (used + size > capacity) used -= evict();
      const node: Node = { key, size, visited: false, newer: undefined, older: newest };
      if (newest === undefined) oldest = node;
      else newest.newer = node;
      newest = node;
      nodes.set(key, node);
      used += size;
    },
  };
}

/** One queue, from whose end the oldest leaves. A hit of LRU moves the entry to the other end. */
function ordered(capacity: number, moves: boolean): Cache {
  const nodes = new Map<number, Node>();
  let newest: Node | undefined;
  let oldest: Node | undefined;
  let used = 0;
  const unlink = ({ newer, older }: Node) => {
    if (newer === undefined) newest = older;
    else newer.older = older;
    if (older === undefined) oldest = newer;
    else older.newer = newer;
  };
  const push = (node: Node) => {
    node.newer = undefined;
    node.older = newest;
    if (newest === undefined) oldest = node;
    else newest.newer = node;
    newest = node;
  };
  return {
    get(key) {
      const node = nodes.get(key);
      if (node === undefined) return false;
      if (moves && node !== newest) {
        unlink(node);
        push(node);
      }
      return true;
    },
    add(key, size) {
      if (size > capacity) return;
      while (used + size > capacity) {
        const node = oldest as Node;
        unlink(node);
        nodes.delete(node.key);
        used -= node.size;
      }
      const node: Node = { key, size, visited: false, newer: undefined, older: undefined };
      push(node);
      nodes.set(key, node);
      used += size;
    },
  };
}

export const policies: readonly { readonly name: string; readonly create: (capacity: number) => Cache }[] = [
  { name: "SIEVE", create: sieve },
  { name: "S3-FIFO", create: s3fifo },
  { name: "LRU", create: (capacity) => ordered(capacity, true) },
  { name: "FIFO", create: (capacity) => ordered(capacity, false) },
];
