import { SyncError } from "../../error.ts";
import type { Call } from "./call.ts";
import type { BodyStream, Client, Reply } from "./client.ts";
import { strangeOf } from "./failures.ts";
import { unquoted } from "./object.ts";
import { parseXml, textOf } from "./xml.ts";

/** How the endpoint takes conditions on a PUT: the ETag in quotes as AWS wants it, without as Ceph does, not at all. */
export type Conditions = "quoted" | "unquoted" | "none";

/** What must be true of an object for a PUT to take effect: nothing there, or this ETag. Undefined: anything. */
export type Over = { readonly etag: string } | "nothing" | undefined;

export interface ListedObject {
  /** With the store's prefix. */
  readonly name: string;
  readonly etag: string;
  /** Unix seconds. */
  readonly seconds: number;
  readonly bytes: number;
}

export interface Page {
  readonly objects: readonly ListedObject[];
  /** Where the next page begins; undefined after the last. */
  readonly next: string | undefined;
}

export const PAGE_MAX = 1000;

/** The condition as headers. */
export function conditionOf(over: Over, conditions: Conditions): Record<string, string> {
  if (over === undefined || conditions === "none") return {};
  if (over === "nothing") return { "if-none-match": "*" };
  return { "if-match": conditions === "quoted" ? `"${over.etag}"` : over.etag };
}

/** Statuses of a PUT whose condition did not hold: also of AWS for an object that is gone, or being written by others. */
export const NOT_MET: readonly number[] = [404, 409, 412];

/** @returns the new ETag; undefined when the condition did not hold. */
export async function put(
  client: Client,
  call: Call,
  object: { readonly name: string; readonly key?: string | undefined } & (
    { readonly body: Uint8Array } | { readonly stream: BodyStream }
  ),
  headers: Readonly<Record<string, string>>,
  over: Over,
  conditions: Conditions,
): Promise<string | undefined> {
  const conditional = over !== undefined && conditions !== "none";
  const reply = await client.send(call, {
    method: "PUT",
    ...object,
    headers: { ...headers, ...conditionOf(over, conditions) },
    takes: conditional ? [200, ...NOT_MET] : [200],
  });
  if (reply.status === 200) return etagOf(client, call, reply);
  // A bucket that is not there answers as an object does that is not.
  if (reply.status === 404 && codeIn(reply) === "NoSuchBucket") {
    const cure = "create it, or correct the URL";
    throw new SyncError("NOT_FOUND", "there is no such bucket", {
      store: client.name,
      operation: call.operation,
      cure,
    });
  }
  return undefined;
}

function codeIn({ body }: Reply): string | undefined {
  return textOf(parseXml(new TextDecoder().decode(body)), "Code");
}

function etagOf(client: Client, call: Call, { headers }: Reply): string {
  const { etag } = headers;
  if (etag !== undefined) return unquoted(etag);
  throw strangeOf("the answer to a PUT names no ETag", { store: client.name, operation: call.operation });
}

/** Undefined when there is no such object. */
export async function head(client: Client, call: Call, name: string, key?: string): Promise<Reply | undefined> {
  const reply = await client.send(call, { method: "HEAD", name, key, takes: [200, 404] });
  return reply.status === 200 ? reply : undefined;
}

/** @returns false when the condition did not hold. An object that is not there counts as removed. */
export async function remove(
  client: Client,
  call: Call,
  name: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<boolean> {
  const { status } = await client.send(call, { method: "DELETE", name, headers, takes: [200, 204, 404, 412] });
  return status !== 412;
}

/** One page of the names that begin with `prefix`, in their byte order. */
export async function page(
  client: Client,
  call: Call,
  prefix: string,
  from: { readonly after?: string | undefined; readonly token?: string | undefined },
  count: number,
): Promise<Page> {
  const { after, token } = from;
  const { body } = await client.send(call, {
    method: "GET",
    name: "",
    query: {
      "list-type": "2",
      "encoding-type": "url",
      "max-keys": String(Math.min(count, PAGE_MAX)),
      prefix,
      ...(token === undefined ? {} : { "continuation-token": token }),
      ...(token !== undefined || after === undefined ? {} : { "start-after": after }),
    },
    takes: [200],
  });
  const root = parseXml(new TextDecoder().decode(body));
  const wrong = () => strangeOf("the answer to a list is not S3's", { store: client.name, operation: call.operation });
  if (root?.name !== "ListBucketResult") throw wrong();
  const escaped = textOf(root, "EncodingType") === "url";
  const objects = root.children
    .filter(({ name }) => name === "Contents")
    .map((item): ListedObject => {
      const [name, etag, modified] = [textOf(item, "Key"), textOf(item, "ETag"), textOf(item, "LastModified")];
      const ms = Date.parse(modified ?? "");
      const bytes = Number(textOf(item, "Size"));
      const plain = name === undefined ? undefined : escaped ? unescaped(name) : name;
      if (plain === undefined || etag === undefined || Number.isNaN(ms) || !(bytes >= 0)) throw wrong();
      return { name: plain, etag: unquoted(etag), seconds: Math.floor(ms / 1000), bytes };
    });
  const more = textOf(root, "IsTruncated") === "true";
  const next = textOf(root, "NextContinuationToken");
  // Without this a server that repeats itself would be asked for ever.
  if (more && (next === undefined || next === token || objects.length === 0)) throw wrong();
  return { objects, next: more ? next : undefined };
}

/** Names in lists are escaped as in a form: a blank may be a plus. */
function unescaped(text: string): string | undefined {
  try {
    return decodeURIComponent(text.replaceAll("+", "%20"));
  } catch {
    return undefined;
  }
}
