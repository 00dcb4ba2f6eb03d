import { KEY_BYTES_MAX } from "../../entry.ts";
import type { Supports } from "../../store.ts";
import { advice, failure } from "../finding.ts";
import type { Note } from "../finding.ts";
import { sizeText } from "../measure.ts";
import type { Step } from "../visit.ts";

/** What the store says of itself, before any of it is tried. */
export const abilities: Step = {
  id: "abilities",
  writes: false,
  run: ({ supports, readonly }) => Promise.resolve({ what: inWords(supports), notes: notesOf(supports, readonly) }),
};

/** Keys in use are rarely longer than this. */
const KEY_BYTES_TIGHT = 256;

function inWords(supports: Supports): string {
  const { keyBytesMax, valueBytesMax, batchMax, watch } = supports;
  const traits = [
    supports.readonly ? "read-only" : "",
    supports.conditional ? "conditional writes" : "",
    supports.expiry ? "expiry" : "",
    watch === "push" ? "pushes changes" : "polled for changes",
    supports.durable ? "durable" : "not durable",
    supports.shared ? "shared" : "",
  ];
  const limits = `keys to ${keyBytesMax} B, values to ${sizeText(valueBytesMax)}, ${batchMax} a call`;
  return `${traits.filter(Boolean).join(", ")}; ${limits}`;
}

function notesOf(supports: Supports, readonly: boolean): Note[] {
  const { keyBytesMax, batchMax, conditional, writers, readonly: takesNone } = supports;
  const notes: Note[] = [];
  if (!(keyBytesMax >= 1 && keyBytesMax <= KEY_BYTES_MAX && batchMax >= 1)) {
    notes.push(failure("its limits of keys or batches are out of range", "correct what the store says in `supports`"));
  } else if (keyBytesMax < KEY_BYTES_TIGHT) {
    const cure = "use shorter keys, or a shorter prefix in its URL where it has one";
    notes.push(advice(`keys above ${keyBytesMax} B are refused`, cure));
  }
  if (takesNone || readonly) return notes;
  if (!conditional) {
    const cure = "for setting if absent, at a version, and for update, add a layer that has them";
    notes.push(advice("it has no conditional writes", cure));
  }
  if (writers === "one") {
    const cure = "let one process write, or use a store with conditional writes";
    notes.push(advice("two processes that write one key at once may lose the newer write", cure));
  }
  return notes;
}
