import { isDead } from "../entry.ts";
import type { Version } from "../version.ts";
import { SAFE } from "./answering.ts";
import { cacheStatus } from "./cache-status.ts";
import { EVERYTHING, allowKey, allowVerb, isDoor } from "./grants.ts";
import type { Door, RequestHead } from "./grants.ts";
import { entryHeaderList, isUnchanged } from "./headers.ts";
import { count, countRequest, requestCounter } from "./metrics.ts";
import type { RequestCounter } from "./metrics.ts";
import type { NodeOptions } from "./node.ts";
import { absentAnswer, ageList } from "./reading.ts";
import { hasNodesBelow, namesBelow, shapeOf } from "./shape.ts";
import type { NodeState } from "./state.ts";

/** A whole answer. */
export interface Hit {
  readonly status: number;
  /** Names and values in turn. */
  readonly headers: readonly string[];
  readonly body: Uint8Array | string;
  /** The body is a text of ASCII alone, which is the same bytes in every encoding and written fastest as Latin-1. */
  readonly ascii: boolean;
}

/** What was found of a path that was asked for: to find it out costs more than to find the value. */
interface Known {
  readonly key: string;
  readonly version: Version;
  /** All but its length and age. */
  readonly headers: readonly string[];
}

const ROUTE = "/v1/kv/{key}";
const KNOWN_MAX = 1_000;
/** A path with nothing in it that parsing a URL would change: no dot at the beginning of a part, plain or escaped. */
const PATH = /^\/v1\/kv\/(?!\.)((?:[\w\-~.:@!$'()*+,;=&]|%(?!2e)[\da-f]{2}|\/(?!\.))+)$/i;

/**
 * The answer to a plain GET of what memory holds, without a Request, a Response or a promise: making these costs several
 * times what everything else in a hit does. It is the answer that `getKey` gives. Undefined: ask the handler, which
 * answers everything, refusals and failures among it.
 *
 * @param authorise anything but a `Door` has to see a Request.
 */
export function hitter(
  state: NodeState,
  authorise: NodeOptions["authorise"],
): (path: string, head: RequestHead) => Hit | undefined {
  const door = authorise === undefined ? () => EVERYTHING : isDoor(authorise) ? authorise.byHead : undefined;
  const { name, chain, runtime, counters } = state;
  const [first] = chain.layers;
  if (door === undefined || first === undefined) return () => undefined;
  const answered = { from: first.name, entry: undefined, stale: false, complete: true };
  const walked = ["cache-status", cacheStatus(shapeOf(name, chain), answered)];
  const always = [...Object.entries(SAFE).flat(), ...walked];
  const hasBelow = hasNodesBelow(chain);
  const known = new Map<string, Known>();
  let counter: RequestCounter | undefined;
  return (path, head) => {
    const startedAt = runtime.monotonic();
    const before = known.get(path);
    const key = before === undefined ? keyOf(path) : before.key;
    if (key === undefined || state.stopping.isOver || !isGranted(door, head, key)) return undefined;
    // A node that stands below itself tells of it.
    if (hasBelow && namesBelow(name, chain).includes(name)) return undefined;
    const slot = chain.look(key);
    if (slot === undefined) return undefined;
    const { version, asOf, state: kind } = slot;
    const now = runtime.now();
    const age = ageList(asOf, now, now);
    if (kind !== "value" || isDead(slot, now)) {
      const { headers, text } = absentAnswer(key, slot, now, {});
      countRequest(counters, ROUTE, "GET", 404, runtime.monotonic() - startedAt);
      return { status: 404, headers: [...always, ...age, ...Object.entries(headers).flat()], body: text, ascii: false };
    }
    let told = before;
    if (told?.version !== version) {
      if (known.size >= KNOWN_MAX) known.clear();
      told = { key, version, headers: [...always, ...entryHeaderList(slot), "accept-ranges", "bytes"] };
      known.set(path, told);
    }
    if (isUnchanged(head.header("if-none-match"), version)) {
      countRequest(counters, ROUTE, "GET", 304, runtime.monotonic() - startedAt);
      return { status: 304, headers: [...told.headers, ...age], body: "", ascii: true };
    }
    counter ??= requestCounter(counters, ROUTE, "GET", 200);
    count(counter, runtime.monotonic() - startedAt);
    const { text, size } = slot;
    const headers = [...told.headers, "content-length", String(size), ...age];
    return { status: 200, headers, body: text ?? (slot.value as Uint8Array), ascii: text?.length === size };
  };
}

function keyOf(path: string): string | undefined {
  const text = PATH.exec(path)?.[1];
  if (text === undefined || !text.includes("%")) return text;
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

/** Who is refused is told so, and why, by the handler. */
function isGranted(door: Door["byHead"], head: RequestHead, key: string): boolean {
  try {
    const grant = door(head);
    allowVerb(grant, "read");
    allowKey(grant, key);
    return true;
  } catch {
    return false;
  }
}
