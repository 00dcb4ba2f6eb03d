/**
 * Whether a history of one key can be explained as a register on which every operation happened at one moment between
 * its call and its return. An operation whose outcome is unknown may have happened at any moment after its call, or
 * never.
 *
 * Source: Wing and Gong, "Testing and Verifying Concurrent Objects", 1993, with the memory of states already tried by
 * Lowe, "Testing for Linearizability", 2017.
 */
export interface Operation {
  readonly client: string;
  /** Places in one order of all events: `called` before `returned`. Infinity: it never returned, or nobody knows. */
  readonly called: number;
  readonly returned: number;
  readonly what: What;
}

/** What the register holds is a version; "" is nothing: never written, or deleted. */
export type What =
  | { readonly kind: "get"; readonly got: string }
  | { readonly kind: "put"; readonly version: string }
  /** It took effect, and so found what it expected. */
  | { readonly kind: "cas"; readonly expected: string; readonly version: string }
  /** It did not take effect, since something else was there. */
  | { readonly kind: "refused"; readonly expected: string };

/** More clients than this on one key make the search too long. */
export const CLIENTS_MAX = 8;

/** @returns undefined when there is an order that explains all; else the operations that end the longest one found. */
export function explain(history: readonly Operation[], initial = ""): string | undefined {
  const clients = new Set(history.map(({ client }) => client));
  if (clients.size > CLIENTS_MAX) throw new Error(`${clients.size} clients on one key, ${CLIENTS_MAX} can be checked`);
  const operations = history.toSorted((a, b) => a.called - b.called);
  const tried = new Set<string>();
  let longest: number[] = [];
  const done = new Set<number>();
  const order: number[] = [];

  const search = (state: string): boolean => {
    const left = operations.flatMap((operation, index) => (done.has(index) ? [] : [{ operation, index }]));
    const known = left.filter(({ operation }) => operation.returned !== Infinity);
    if (known.length === 0) return true;
    if (order.length > longest.length) longest = [...order];
    const place = `${state} ${left.map(({ index }) => index).join(",")}`;
    if (tried.has(place)) return false;
    tried.add(place);
    // Nothing can come first that was called after another had returned.
    const first = Math.min(...known.map(({ operation }) => operation.returned));
    for (const { operation, index } of left) {
      if (operation.called > first) break;
      const next = after(state, operation.what);
      if (next === undefined) continue;
      done.add(index);
      order.push(index);
      if (search(next)) return true;
      done.delete(index);
      order.pop();
    }
    return false;
  };

  if (search(initial)) return undefined;
  const reached = new Set(longest);
  const last = longest.slice(-3).map((index) => describe(operations[index]));
  const stuck = operations.filter((_, index) => !reached.has(index)).slice(0, 4);
  return `after ${last.join("; ") || "the beginning"} none of these fits: ${stuck.map(describe).join("; ")}`;
}

/** The register after an operation; undefined when it cannot have happened in this state. */
function after(state: string, what: What): string | undefined {
  switch (what.kind) {
    case "get":
      return what.got === state ? state : undefined;
    case "put":
      return what.version;
    case "cas":
      return what.expected === state ? what.version : undefined;
    case "refused":
      return what.expected === state ? undefined : state;
  }
}

function describe(operation: Operation | undefined): string {
  if (operation === undefined) return "nothing";
  const { client, called, returned, what } = operation;
  const when = `${client} ${called}-${returned === Infinity ? "?" : returned}`;
  switch (what.kind) {
    case "get":
      return `${when} get ${what.got || "nothing"}`;
    case "put":
      return `${when} put ${what.version}`;
    case "cas":
      return `${when} ${what.version} over ${what.expected || "nothing"}`;
    case "refused":
      return `${when} refused, not ${what.expected || "nothing"}`;
  }
}
