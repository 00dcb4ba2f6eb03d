/**
 * Which keys left a queue not long ago, as far as a table of fixed places remembers: 32 bits of each key's hash, and
 * when it left, counted in what has left since. Two keys that share a place or a hash cost one wrong guess about where
 * an entry is put, never a wrong answer. Eight bytes for each place.
 */
export class Ghosts {
  private hashes = new Uint32Array(PLACES_MIN);
  /** KiB that had left when this one did; wraps around. */
  private times = new Uint32Array(PLACES_MIN);
  private leftBytes = 0;

  /** @param entries how many entries the queue has: the table grows with them. */
  add(key: string, bytes: number, entries: number): void {
    if (entries > this.hashes.length) this.grow();
    this.leftBytes += bytes;
    const hash = hashOf(key);
    const place = hash & (this.hashes.length - 1);
    this.hashes[place] = hash;
    this.times[place] = this.leftBytes / KIB;
  }

  /** Whether the key left within the last so many bytes; it is forgotten then. */
  take(key: string, withinBytes: number): boolean {
    if (this.leftBytes === 0) return false; // none has left yet
    const hash = hashOf(key);
    const place = hash & (this.hashes.length - 1);
    if (this.hashes[place] !== hash) return false;
    this.hashes[place] = 0;
    return ((this.leftBytes / KIB - (this.times[place] ?? 0)) >>> 0) * KIB <= withinBytes;
  }

  private grow(): void {
    const { hashes, times } = this;
    this.hashes = new Uint32Array(2 * hashes.length);
    this.times = new Uint32Array(2 * hashes.length);
    for (const [i, hash] of hashes.entries()) {
      const place = hash & (this.hashes.length - 1);
      this.hashes[place] = hash;
      this.times[place] = times[i] ?? 0;
    }
  }
}

const PLACES_MIN = 256;
const KIB = 1024;

/** FNV-1a over the units of the text, mixed once more as its low bits choose the place; never 0, which means empty. */
function hashOf(key: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < key.length; i++) hash = Math.imul(hash ^ key.charCodeAt(i), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  hash = (hash ^ (hash >>> 13)) >>> 0;
  return hash === 0 ? 1 : hash;
}
