import type { IncomingMessage, ServerResponse } from "node:http";
import type { RequestHead } from "../grants.ts";
import type { SyncNode } from "../node.ts";

/** What says whose request it is, the host first, and what its caller has. */
const ASKED_FOR = ["host", "authorization", "sec-fetch-site", "if-none-match"];
/** No answer to a hit depends on these. */
const PASSED_OVER = [
  "accept",
  "accept-encoding",
  "accept-language",
  "connection",
  "dnt",
  "forwarded",
  "keep-alive",
  "priority",
  "referer",
  "sec-fetch-dest",
  "sec-fetch-mode",
  "sec-fetch-user",
  "sec-gpc",
  "user-agent",
  "via",
  "x-forwarded-for",
  "x-forwarded-host",
  "x-forwarded-port",
  "x-forwarded-proto",
  "x-real-ip",
  "x-request-id",
];
const NOTHING: readonly (string | undefined)[] = ASKED_FOR.map(() => undefined);
const NOWHERE = -1;
/** With a header that is not in here the request goes to the handler. */
const PLACES: ReadonlyMap<string, number> = new Map([
  ...ASKED_FOR.map((name, place) => [name, place] as const),
  ...PASSED_OVER.map((name) => [name, NOWHERE] as const),
]);
/** A name or an address and a port, written so that parsing a URL would change nothing but the case. */
const HOST = /^([a-z][\w.-]*|\d{1,3}(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?$/i;

/** Answers a request that the node's memory can answer by itself. False: it has not been touched. */
export function directly(node: SyncNode): (incoming: IncomingMessage, outgoing: ServerResponse) => boolean {
  const headOf = heads();
  return ({ method, url, rawHeaders }, outgoing) => {
    if (method !== "GET" || url === undefined) return false;
    const head = headOf(rawHeaders);
    const hit = head && node.hit(url, head);
    if (hit === undefined) return false;
    outgoing.writeHead(hit.status, hit.headers as string[]).end(hit.body, hit.ascii ? "latin1" : "utf8");
    return true;
  };
}

/** Undefined where the handler has to look: at a header that matters, or at one that comes twice. */
function heads(): (raw: readonly string[]) => RequestHead | undefined {
  // Nearly all requests name the same host.
  let last: { readonly host: string; readonly hostname: string } = { host: "", hostname: "" };
  return (raw) => {
    const asked = NOTHING.slice();
    for (let i = 0; i < raw.length; i += 2) {
      const place = PLACES.get((raw[i] as string).toLowerCase());
      if (place === NOWHERE) continue;
      if (place === undefined || asked[place] !== undefined) return undefined;
      asked[place] = raw[i + 1] as string;
    }
    const [host = ""] = asked;
    if (host !== last.host || host === "") {
      const hostname = HOST.exec(host)?.[1];
      if (hostname === undefined) return undefined;
      last = { host, hostname };
    }
    return { hostname: last.hostname, header: (name) => asked[PLACES.get(name) ?? NOWHERE] ?? null };
  };
}
