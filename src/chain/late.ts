import { bytesGot } from "../slot.ts";
import type { Write } from "../store.ts";

/**
 * Writes that a layer nobody waited for did not take, kept until a `flush` sends them again: per layer and key the
 * newest only. Bounded; what does not fit is counted, and the count never goes down, so that `flush` stays truthful.
 */
export interface LateWrites {
  /** @returns what is not kept, or not any more: the write itself, or an older one that it took the place of. */
  add(layer: number, write: Write): Write | undefined;
  /** Empties the list and returns what was in it. */
  take(): readonly (readonly [layer: number, writes: readonly Write[]])[];
  dropped(): number;
}

export function lateWrites(entriesMax: number): LateWrites {
  let byLayer = new Map<number, Map<string, Write>>();
  let entries = 0;
  let dropped = 0;
  return {
    add(layer, write) {
      const ofLayer = byLayer.get(layer) ?? new Map<string, Write>();
      byLayer.set(layer, ofLayer);
      const { key, version } = write.entry;
      const known = ofLayer.get(key);
      if (known === undefined) {
        if (entries >= entriesMax) {
          dropped++;
          return write;
        }
        entries++;
      } else if (known.entry.version > version) return write;
      ofLayer.set(key, ofItsOwn(write));
      return known;
    },
    take() {
      const taken = [...byLayer].map(([layer, writes]) => [layer, [...writes.values()]] as const);
      byLayer = new Map();
      entries = 0;
      return taken;
    },
    dropped: () => dropped,
  };
}

/** Its bytes may be a piece of a buffer that many values share, which would stay for as long as this one waits. */
function ofItsOwn(write: Write): Write {
  const { entry } = write;
  return entry.value === null ? write : { ...write, entry: { ...entry, value: bytesGot(entry.value) } };
}
