import { SyncError, asSyncError } from "../error.ts";
import type { Runtime } from "../runtime.ts";
import type { Store } from "../store.ts";
import { isSameContent } from "./content.ts";
import type { Reading } from "./content.ts";
import type { Pair } from "./pairs.ts";
import { Session } from "./session.ts";
import type { Difference, SessionOptions } from "./types.ts";
import { verdictOf } from "./verdict.ts";
import type { Verdict } from "./verdict.ts";

/** How many keys whose values have to be read are compared at once. */
const COMPARED_AT_ONCE = 64;
/** How many keys are held, so that they are told in their order while some of them are compared. */
const HELD_MAX = 1000;

/**
 * How the values of the two sides stand to each other, for each key that one of them has a value of, in the order of the keys.
 * Nothing is written.
 * @throws SyncError when a list fails: what was told before is right, and what comes after it is not known.
 */
export async function* diffWith(
  from: Store,
  to: Store,
  options: SessionOptions & { readonly runtime: Runtime },
): AsyncGenerator<Difference, void> {
  const session = new Session("diff", from, to, options);
  let held: [Pair, Verdict][] = [];
  let unsure = 0;
  const span = { prefix: options.prefix ?? "", after: undefined, until: undefined };
  for await (const pair of session.pairs(span)) {
    const verdict = verdictOf(pair, session.now, options.compare);
    if (verdict === "nothing") continue;
    held.push([pair, verdict]);
    if (isUnsure(verdict, options)) unsure++;
    if (unsure > 0 && unsure < COMPARED_AT_ONCE && held.length < HELD_MAX) continue;
    yield* await told(session, held, options);
    [held, unsure] = [[], 0];
  }
  yield* await told(session, held, options);
}

function isUnsure(verdict: Verdict, { compare }: SessionOptions): boolean {
  return verdict === "unsure" || (compare !== "version" && (verdict === "from-newer" || verdict === "to-newer"));
}

async function told(
  session: Session,
  held: readonly (readonly [Pair, Verdict])[],
  options: SessionOptions,
): Promise<Difference[]> {
  const open = held.filter(([, verdict]) => isUnsure(verdict, options)).map(([pair]) => pair);
  const [source, target] =
    open.length === 0
      ? [new Map<string, Reading>(), new Map<string, Reading>()]
      : await Promise.all([session.read(session.from, open), session.read(session.to, open)]);
  const differences: Difference[] = [];
  for (const [{ key }, verdict] of held) {
    if (isUnsure(verdict, options)) {
      differences.push(await compared(session, key, source.get(key) ?? "none", target.get(key) ?? "none"));
    } else differences.push({ key, symbol: SYMBOLS[verdict], error: undefined });
  }
  return differences;
}

const SYMBOLS = {
  nothing: "=",
  same: "=",
  "only-from": "+",
  "only-to": "-",
  "from-newer": "*",
  "to-newer": "*",
  unsure: "!",
} as const;

async function compared(session: Session, key: string, source: Reading, target: Reading): Promise<Difference> {
  try {
    for (const reading of [source, target]) if (reading instanceof SyncError) throw reading;
    if (source === "none" || target === "none" || source instanceof SyncError || target instanceof SyncError) {
      return { key, symbol: source === target ? "=" : source === "none" ? "-" : "+", error: undefined };
    }
    const isSame = await isSameContent(source, target, session.call());
    return { key, symbol: isSame ? "=" : "*", error: undefined };
  } catch (error) {
    return { key, symbol: "!", error: asSyncError(error, { key }) };
  }
}
