import { SyncError } from "../error.ts";
import type { ChainState } from "./state.ts";

/** What has to have a write before it is acknowledged. */
export type Ack =
  /** This process alone. */
  | { readonly kind: "memory" }
  /** The journal: on disk here. */
  | { readonly kind: "journal" }
  | { readonly kind: "layers"; readonly indexes: ReadonlySet<number> }
  | { readonly kind: "all" };

const ALL: Ack = { kind: "all" };
const JOURNAL: Ack = { kind: "journal" };

/**
 * The acknowledgement level of that name. Where there is a journal, "memory" and "journal" are levels, and "journal" is
 * the default; else the default is "all".
 * @throws SyncError INVALID, or UNSUPPORTED for the journal, for a level that the chain does not have.
 */
export function ackOf(state: Pick<ChainState, "layers">, ack: string | undefined, hasJournal: boolean): Ack {
  if (ack === "all" || (ack === undefined && !hasJournal)) return ALL;
  if (hasJournal && (ack === undefined || ack === "journal")) return JOURNAL;
  const index = indexOf(state, ack);
  if (hasJournal && ack === "memory" && (index === -1 || state.layers[index]?.role === "cache"))
    return { kind: "memory" };
  if (index !== -1) return { kind: "layers", indexes: new Set([index]) };
  if (ack === "journal") {
    throw new SyncError("UNSUPPORTED", 'this chain has no journal to acknowledge "journal"', {
      cure: "open it with the option journal, or leave ack out: a write is then acknowledged when every layer has it",
    });
  }
  const levels = [...(hasJournal ? ["memory", "journal"] : []), "all", ...state.layers.map((layer) => layer.name)];
  throw new SyncError("INVALID", `no acknowledgement level ${JSON.stringify(ack)} in this chain`, {
    cure: `use one of ${[...new Set(levels)].map((name) => JSON.stringify(name)).join(", ")}`,
  });
}

/** In a function of its own: for its closure the engine would make an object of each call that needs none. */
function indexOf({ layers }: Pick<ChainState, "layers">, name: string | undefined): number {
  return layers.findIndex((layer) => layer.name === name);
}
