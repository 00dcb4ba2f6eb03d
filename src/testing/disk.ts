import { SyncError } from "../error.ts";
import type { Random } from "./random.ts";

const PAGE_BYTES = 512;

/** A file: what programs see of it, and what is on the disk. */
export interface SimulatedFile {
  bytes: Uint8Array;
  synced: Uint8Array;
  /** Below this everything is on the disk. */
  dirtyFrom: number;
  /** Pages that a failed sync lost. Programs still see them; no later sync writes them. */
  lost: { readonly from: number; readonly to: number }[];
}

/** One step of the folder that may or may not be on the disk. */
type Change = (folder: Map<string, SimulatedFile>) => void;

/** The state behind {@link import("./files.ts").simulatedFiles}: what is seen, what is safe, and what chance makes of it. */
export class SimulatedDisk {
  capacityBytes: number;
  lying: "sync" | "syncFolder" | undefined;
  private readonly chance: Random;
  private seen = new Map<string, SimulatedFile>();
  private safe = new Map<string, SimulatedFile>();
  private changes: Change[] = [];

  constructor(chance: Random, capacityBytes: number) {
    this.chance = chance;
    this.capacityBytes = capacityBytes;
  }

  names(): string[] {
    return this.chance.shuffle([...this.seen.keys()]);
  }

  file(name: string): SimulatedFile {
    const found = this.seen.get(name);
    if (found === undefined) throw refusal(`there is no file ${name}`, "ENOENT");
    return found;
  }

  create(name: string): SimulatedFile {
    if (this.seen.has(name)) throw refusal(`there is a file ${name} already`, "EEXIST");
    const file = { bytes: new Uint8Array(0), synced: new Uint8Array(0), dirtyFrom: 0, lost: [] };
    this.change((folder) => folder.set(name, file));
    return file;
  }

  rename(from: string, to: string): void {
    const file = this.file(from);
    this.change((folder) => {
      folder.delete(from);
      folder.set(to, file);
    });
  }

  remove(name: string): void {
    this.file(name);
    this.change((folder) => folder.delete(name));
  }

  syncFolder(): void {
    if (this.lying === "syncFolder") return;
    this.safe = new Map(this.seen);
    this.changes = [];
  }

  /** What has room. @throws ENOSPC when that is not all of it. */
  append(file: SimulatedFile, bytes: Uint8Array): void {
    const room = Math.max(0, this.capacityBytes - this.usedBytes());
    const fits = bytes.subarray(0, Math.min(bytes.length, room));
    file.bytes = joined(file.bytes, fits);
    if (fits.length < bytes.length) throw refusal("there is no space left", "ENOSPC");
  }

  truncate(file: SimulatedFile, length: number): void {
    file.bytes = file.bytes.slice(0, length);
    file.dirtyFrom = Math.min(file.dirtyFrom, length);
    file.lost = file.lost
      .filter(({ from }) => from < length)
      .map(({ from, to }) => ({ from, to: Math.min(to, length) }));
  }

  sync(file: SimulatedFile): void {
    if (this.lying === "sync") return;
    const synced = file.bytes.slice();
    for (const { from, to } of file.lost) synced.set(this.staleBytes(file.synced, from, to), from);
    file.synced = synced;
    file.dirtyFrom = synced.length;
  }

  /** Some pages get there. The others are lost, though programs go on seeing them. */
  failSync(file: SimulatedFile): void {
    for (const { from, to } of pages(file.dirtyFrom, file.bytes.length)) {
      if (this.chance.chance(0.5)) file.lost.push({ from, to });
    }
    this.sync(file);
  }

  /** What is not safe happens or not. */
  powerLoss(): void {
    const folder = this.safe;
    for (const change of this.changes) if (this.chance.chance(0.5)) change(folder);
    for (const file of new Set(folder.values())) {
      file.bytes = this.survivor(file);
      file.synced = file.bytes;
      file.dirtyFrom = file.bytes.length;
      file.lost = [];
    }
    this.seen = folder;
    this.safe = new Map(folder);
    this.changes = [];
  }

  private change(change: Change): void {
    change(this.seen);
    this.changes.push(change);
  }

  private usedBytes(): number {
    let used = 0;
    for (const { bytes } of this.seen.values()) used += bytes.length;
    return used;
  }

  private survivor(file: SimulatedFile): Uint8Array {
    const { bytes, synced, dirtyFrom } = file;
    const how = this.chance.below(8);
    if (how === 0) return synced;
    if (how === 1 && file.lost.length === 0) return bytes;
    const longest = Math.max(bytes.length, synced.length);
    const length = dirtyFrom + this.chance.below(longest - dirtyFrom + 1);
    const survivor = joined(bytes.subarray(0, dirtyFrom), new Uint8Array(length - dirtyFrom));
    for (const { from, to } of file.lost) {
      if (from < dirtyFrom) survivor.set(synced.subarray(from, Math.min(to, dirtyFrom)), from);
    }
    const inOrder = how === 2; // a prefix that ends at a random byte
    for (const { from, to } of pages(dirtyFrom, length)) {
      const written = inOrder || this.chance.chance(0.6);
      const lost = file.lost.some((page) => page.from < to && from < page.to);
      const source = written && !lost ? bytes.subarray(from, to) : this.staleBytes(synced, from, to);
      survivor.set(source, from);
    }
    return survivor;
  }

  /** What a page holds that was never written: what was there before, zeros, or anything. */
  private staleBytes(synced: Uint8Array, from: number, to: number): Uint8Array {
    const before = joined(synced.subarray(from, to), new Uint8Array(Math.max(0, to - Math.max(from, synced.length))));
    return before.length === to - from && this.chance.chance(0.8) ? before : this.chance.bytes(to - from);
  }
}

function* pages(from: number, to: number): Generator<{ from: number; to: number }> {
  for (let at = from; at < to;) {
    const end = Math.min(to, at - (at % PAGE_BYTES) + PAGE_BYTES);
    yield { from: at, to: end };
    at = end;
  }
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  const both = new Uint8Array(a.length + b.length);
  both.set(a, 0);
  both.set(b, a.length);
  return both;
}

function refusal(what: string, code: string): SyncError {
  const cause = Object.assign(new Error(code), { code });
  return new SyncError("UNAVAILABLE", `${what}: ${code}`, { store: "simulated", cure: "see to the disk", cause });
}
