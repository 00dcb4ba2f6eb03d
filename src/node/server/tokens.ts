import { createHash, timingSafeEqual } from "node:crypto";
import { SyncError } from "../../error.ts";
import { Refused, doorOf, toVerb } from "../grants.ts";
import type { Door, Grant } from "../grants.ts";

/** A token as it is kept: nobody who reads it can use it. */
export interface KeptToken extends Grant {
  /** SHA-256 of the token, 32 bytes. */
  readonly hash: Uint8Array;
}

/**
 * Tokens from a text with one a line: a name, `sha256:` and the hash in hexadecimal, the scopes with commas between them,
 * and the prefixes that it is for, percent-encoded, none for all keys. Empty lines and those that begin with # are left out.
 * @throws SyncError INVALID, naming the line. No part of a line but its name is told.
 */
export function readTokens(text: string, source: string): readonly KeptToken[] {
  const tokens: KeptToken[] = [];
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (line.trim() === "" || line.startsWith("#")) continue;
    const [name = "", hash = "", scopes = "", ...prefixes] = line.trim().split(/\s+/);
    const hex = /^sha256:([0-9a-f]{64})$/i.exec(hash)?.[1];
    const decoded = decodeAll(prefixes);
    if (hex === undefined || scopes === "" || decoded === undefined) {
      throw new SyncError("INVALID", `${source}, line ${index + 1}, is no token`, {
        cure: "write NAME sha256:HASH read,write [PREFIX ...], the prefixes percent-encoded",
      });
    }
    const verbs = scopes.split(",").map(toVerb);
    tokens.push({ name, hash: Buffer.from(hex, "hex"), verbs, prefixes: decoded });
  }
  return tokens;
}

/** Undefined when one of them is not percent-encoded UTF-8. */
function decodeAll(texts: readonly string[]): readonly string[] | undefined {
  try {
    return texts.map(decodeURIComponent);
  } catch {
    return undefined;
  }
}

/** Whose token a request carries. Every token is compared, each in constant time. */
export function tokenDoor(tokens: readonly KeptToken[]): Door {
  return doorOf(({ header }) => {
    const given = /^Bearer +(\S+)$/i.exec(header("authorization") ?? "")?.[1];
    if (given === undefined) throw new Refused(401, "no token was sent");
    const hash = createHash("sha256").update(given).digest();
    let found: KeptToken | undefined;
    for (const token of tokens) if (timingSafeEqual(token.hash, hash)) found = token;
    if (found === undefined) throw new Refused(401, "the token is not known here");
    return found;
  });
}

/**
 * Who may ask without a token: programs of this machine, and no page of a browser that was lured into asking for it. A
 * foreign name for this address (DNS rebinding) and a request that another site's page makes are refused.
 */
export function localDoor(everything: Grant): Door {
  // Nearly all requests name the same one.
  let known: string | undefined;
  return doorOf(({ hostname, header }) => {
    if (hostname !== known) {
      if (!isLoopbackName(hostname))
        throw new Refused(403, "without a token this node answers to its local names only");
      known = hostname;
    }
    const site = header("sec-fetch-site");
    if (site !== null && site !== "same-origin" && site !== "none") {
      throw new Refused(403, "pages of other sites may not ask this node");
    }
    return everything;
  });
}

/** Whether a host, as a URL or an option names it, is this machine itself. */
export function isLoopbackName(host: string): boolean {
  const name = host.replace(/^\[|\]$/g, "").toLowerCase();
  return name === "localhost" || name === "::1" || /^127(?:\.\d{1,3}){3}$/.test(name);
}
