import { createPrivateKey, createSign } from "node:crypto";
import { SyncError } from "../../error.ts";
import type { Runtime } from "../../runtime.ts";

/** A GitHub app: what it is known by, and the key that proves it. */
export interface GithubApp {
  readonly appId: string | number;
  /** PEM, PKCS#1 as GitHub gives it or PKCS#8. */
  readonly privateKey: string;
  /** Undefined: the installation that the repository belongs to is looked up. */
  readonly installationId?: string | number | undefined;
}

/** GitHub takes at most ten minutes; the clock of this machine may be a minute off. */
const LIFE_S = 9 * 60;
const SKEW_S = 60;

/** The signed statement "I am this app", good for nine minutes. @throws SyncError INVALID for a key that is none. */
export function appToken(runtime: Runtime, { appId, privateKey }: GithubApp): string {
  const now = Math.floor(runtime.now() / 1000);
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const text = `${part({ alg: "RS256", typ: "JWT" })}.${part({ iat: now - SKEW_S, exp: now + LIFE_S, iss: String(appId) })}`;
  try {
    return `${text}.${createSign("RSA-SHA256").update(text).sign(createPrivateKey(privateKey), "base64url")}`;
  } catch {
    // What the library says of a key could hold a part of it.
    throw new SyncError("INVALID", "the private key of the GitHub app cannot be read", {
      store: "github",
      cure: "give the PEM file that GitHub made for the app, whole",
    });
  }
}
