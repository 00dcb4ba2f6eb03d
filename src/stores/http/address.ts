import { SyncError } from "../../error.ts";

/** Where a node is, and what opens its door. */
export interface NodeAddress {
  /** With a slash at its end and nothing secret in it. */
  readonly base: string;
  readonly token: string | undefined;
}

/**
 * A node's URL: `https://TOKEN@host:port/path/`, the token also as the password of any user.
 * @throws SyncError INVALID, without the token in the message.
 */
export function readAddress(text: string, token: string | undefined): NodeAddress {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw malformed("it is not one");
  }
  if (url.protocol !== "http:" && url.protocol !== "https:") throw malformed("its scheme is not http or https");
  if (url.search !== "" || url.hash !== "") throw malformed("it has a query or a fragment");
  const own = decoded(url.password === "" ? url.username : url.password);
  if (own !== "" && token !== undefined) throw malformed("it has a token, and another is given");
  const chosen = own === "" ? token : own;
  if (chosen !== undefined && !/^[\x21-\x7e]+$/.test(chosen))
    throw malformed("its token holds what no header may hold");
  const path = url.pathname.endsWith("/") ? url.pathname : `${url.pathname}/`;
  return { base: `${url.origin}${path}`, token: chosen };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw malformed("its token has a broken % escape");
  }
}

function malformed(why: string): SyncError {
  return new SyncError("INVALID", `the URL of the node cannot be used: ${why}`, {
    cure: "write https://TOKEN@host:port/",
  });
}
