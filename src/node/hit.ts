import { isDead } from "../entry.ts";
import type { Entry } from "../entry.ts";
import type { Version } from "../version.ts";
import { SAFE } from "./answering.ts";
import { cacheStatus } from "./cache-status.ts";
import { EVERYTHING, allowKey, allowVerb, isDoor } from "./grants.ts";
import type { Door, RequestHead } from "./grants.ts";
import { entryHeaderList } from "./headers.ts";
import { countRequest } from "./metrics.ts";
import type { NodeOptions } from "./node.ts";
import { absentAnswer, ageHeaders } from "./reading.ts";
import { hasNodesBelow, namesBelow, shapeOf } from "./shape.ts";
import type { NodeState } from "./state.ts";

/** A whole answer. */
export interface Hit {
  readonly status: number;
  /** Names and values in turn. */
  readonly headers: readonly string[];
  readonly body: Uint8Array | string;
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
  const headersOf = valueHeaders();
  return (path, head) => {
    const startedAt = runtime.monotonic();
    const key = keyOf(path);
    if (key === undefined || state.stopping.isOver || !isGranted(door, head, key)) return undefined;
    // A node that stands below itself tells of it.
    if (hasBelow && namesBelow(name, chain).includes(name)) return undefined;
    const slot = chain.look(key);
    if (slot === undefined) return undefined;
    const { entry, asOf } = slot;
    const now = runtime.now();
    const headers = always.slice();
    let [status, body]: [number, Hit["body"]] = [200, ""];
    put(headers, ageHeaders(asOf, now, now));
    if (isDead(entry, now) || entry.value === null) {
      const absent = absentAnswer(key, entry, now, {});
      put(headers, absent.headers);
      [status, body] = [404, absent.text];
    } else {
      body = entry.value;
      headers.push(...headersOf(entry, body.length));
    }
    countRequest(counters, ROUTE, "GET", status, runtime.monotonic() - startedAt);
    return { status, headers, body };
  };
}

/** What headers say of a value, kept for the keys that were asked for last: to put it together costs more than to find it. */
function valueHeaders(): (entry: Entry, bytes: number) => readonly string[] {
  const known = new Map<string, { readonly version: Version; readonly list: readonly string[] }>();
  return (entry, bytes) => {
    const { key, version } = entry;
    const found = known.get(key);
    if (found?.version === version) return found.list;
    const list = [...entryHeaderList(entry), "accept-ranges", "bytes", "content-length", String(bytes)];
    if (known.size >= KNOWN_MAX) known.clear();
    known.set(key, { version, list });
    return list;
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

function put(list: string[], headers: Readonly<Record<string, string>>): void {
  for (const name of Object.keys(headers)) list.push(name, headers[name] ?? "");
}
