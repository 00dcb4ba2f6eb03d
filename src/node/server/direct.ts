import type { IncomingMessage, ServerResponse } from "node:http";
import type { RequestHead } from "../grants.ts";
import type { SyncNode } from "../node.ts";

/** Headers that no answer to a hit depends on. With any other the request goes to the handler. */
const PASSED_OVER: ReadonlySet<string> = new Set([
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
]);
/** What says whose request it is. */
const ASKED_FOR: ReadonlySet<string> = new Set(["authorization", "host", "sec-fetch-site"]);
/** Up to so many bytes go to the system with the head, in one piece: as text, of which each character is a byte. */
const JOINED_BYTES_MAX = 16 * 1024;
/** A name or an address and a port, written so that parsing a URL would change nothing but the case. */
const HOST = /^([a-z][\w.-]*|\d{1,3}(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?$/i;

/** Answers a request that the node's memory can answer by itself. False: it has not been touched. */
export function answerDirectly(node: SyncNode, incoming: IncomingMessage, outgoing: ServerResponse): boolean {
  if (incoming.method !== "GET") return false;
  const head = headOf(incoming.rawHeaders);
  const hit = head && node.hit(incoming.url ?? "", head);
  if (hit === undefined) return false;
  const { body } = hit;
  outgoing.writeHead(hit.status, hit.headers as string[]);
  if (typeof body === "string" || body.length > JOINED_BYTES_MAX) outgoing.end(body);
  else outgoing.end(Buffer.from(body.buffer, body.byteOffset, body.length).toString("latin1"), "latin1");
  return true;
}

/** Undefined where the handler has to look: at a header that matters, or at one that comes twice. */
function headOf(raw: readonly string[]): RequestHead | undefined {
  const asked: Record<string, string> = {};
  for (let i = 0; i < raw.length; i += 2) {
    const name = (raw[i] as string).toLowerCase();
    if (PASSED_OVER.has(name)) continue;
    if (!ASKED_FOR.has(name) || asked[name] !== undefined) return undefined;
    asked[name] = raw[i + 1] as string;
  }
  const hostname = HOST.exec(asked["host"] ?? "")?.[1];
  return hostname === undefined ? undefined : { hostname, header: (name) => asked[name] ?? null };
}
