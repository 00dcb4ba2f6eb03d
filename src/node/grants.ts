import { SyncError } from "../error.ts";

/** What a caller may do. */
export type Verb = "read" | "write" | "manage";

export const VERBS: readonly Verb[] = ["read", "write", "manage"];

/** Whose request it is, and what is allowed. */
export interface Grant {
  /** For messages and metrics. */
  readonly name: string;
  readonly verbs: readonly Verb[];
  /** Only keys that begin with one of these; none means all keys. */
  readonly prefixes: readonly string[];
}

/** What of a request says whose it is, and what else the answer to a hit depends on. */
export interface RequestHead {
  /** The host that was asked, without the port. */
  readonly hostname: string;
  /** Null without it; the name in lower case. */
  readonly header: (name: string) => string | null;
}

/** Finds whose request it is by its head alone, at once. Throws `Refused`. */
export interface Door {
  (request: Request): Grant;
  readonly byHead: (head: RequestHead) => Grant;
}

export function doorOf(byHead: Door["byHead"]): Door {
  const byRequest = ({ headers, url }: Request) => {
    return byHead({ hostname: new URL(url).hostname, header: (name) => headers.get(name) });
  };
  return Object.assign(byRequest, { byHead });
}

export function isDoor(authorise: (request: Request) => unknown): authorise is Door {
  return "byHead" in authorise;
}

/** Where no tokens are asked for, whoever reaches the node may do everything. */
export const EVERYTHING: Grant = { name: "anybody", verbs: VERBS, prefixes: [] };

/** Refused at the door: 401 or 403, not an error of the store. */
export class Refused extends Error {
  readonly status: 401 | 403;

  constructor(status: 401 | 403, what: string) {
    super(what);
    this.status = status;
  }
}

export function allowVerb({ name, verbs }: Grant, verb: Verb): void {
  if (!verbs.includes(verb)) throw new Refused(403, `${name} may not ${verb}`);
}

export function allowKey({ name, prefixes }: Grant, key: string): void {
  if (prefixes.length > 0 && !prefixes.some((prefix) => key.startsWith(prefix))) {
    throw new Refused(403, `${name} may not use the key ${JSON.stringify(key.slice(0, 80))}`);
  }
}

/** All keys under the prefix have to be allowed: what is refused is not quietly left out. */
export function allowPrefix({ name, prefixes }: Grant, wanted: string): void {
  if (prefixes.length > 0 && !prefixes.some((prefix) => wanted.startsWith(prefix))) {
    throw new Refused(
      403,
      `${name} may only use keys that begin with ${prefixes.map((each) => JSON.stringify(each)).join(" or ")}`,
    );
  }
}

/** For what concerns all keys at once, such as raising the collection watermark. */
export function allowAll({ name, prefixes }: Grant, what: string): void {
  if (prefixes.length > 0) throw new Refused(403, `${name} may not ${what}: that concerns all keys`);
}

export function refusedProblem(refused: Refused) {
  const title = refused.status === 401 ? "A token is needed" : "The token does not allow this";
  const { message: detail, status } = refused;
  const cure = status === 401 ? "send Authorization: Bearer TOKEN" : "use a token with this scope";
  const code = "UNAUTHORISED" as const;
  return { type: `urn:microsync:error:${code}`, title, status, detail, code, reason: detail, retryable: false, cure };
}

/** The nodes stand in a circle: a request would never end. */
export class Loop extends SyncError {
  constructor(nodes: readonly string[]) {
    super("UNSUPPORTED", `the nodes form a loop: ${nodes.join(" -> ")}`, {
      cure: "take one of them out of the chain of another; each node has a name of its own",
    });
  }
}

/** @throws SyncError INVALID */
export function toVerb(text: string): Verb {
  const verb = VERBS.find((each) => each === text);
  if (verb !== undefined) return verb;
  throw new SyncError("INVALID", `there is no scope ${JSON.stringify(text)}`, { cure: `use ${VERBS.join(", ")}` });
}
