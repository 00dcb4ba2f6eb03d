import { forCaller } from "../../caller.ts";
import { SyncError } from "../../error.ts";
import type { Runtime } from "../../runtime.ts";
import type { CallOptions } from "../../store.ts";
import { appToken } from "./app.ts";
import type { GithubApp } from "./app.ts";

/** Who asks. Nothing here is ever part of an error, a name or a report. */
export interface Credentials {
  /** What two holders of the same credential have in common: the key of their budget. Not to be shown. */
  readonly identity: string;
  /** The token to send now; undefined: ask without one. */
  token(options: CallOptions): Promise<string | undefined>;
  /** The server refused the token. True: the next one may be another. */
  refused(token: string): boolean;
}

export interface CredentialOptions {
  readonly token?: string | undefined;
  readonly app?: GithubApp | undefined;
}

/** What an installation's token is asked from: a request with the app's own token, within a time of its own. */
export type AskAsApp = (method: "GET" | "POST", path: string, jwt: string) => Promise<Record<string, unknown>>;

/** Renewed so long before it ends: a request under way must not outlive it. */
const RENEW_MS = 5 * 60_000;

/** The option `token`, else the app, else GITHUB_TOKEN, else GH_TOKEN, else nobody. */
export function credentials(
  { token, app }: CredentialOptions,
  env: NodeJS.ProcessEnv,
  runtime: Runtime,
  repository: string,
  ask: AskAsApp,
): Credentials {
  if (token === undefined && app !== undefined) return installation(app, runtime, repository, ask);
  const found = [token, env["GITHUB_TOKEN"], env["GH_TOKEN"]].find((text) => text !== undefined && text !== "");
  if (found !== undefined && !/^[\x21-\x7e]+$/.test(found)) {
    throw new SyncError("INVALID", "the GitHub token holds characters that no token has", {
      store: "github",
      operation: "open",
      cure: "set GITHUB_TOKEN to the token alone, without spaces or line ends",
    });
  }
  return { identity: found ?? "", token: () => Promise.resolve(found), refused: () => false };
}

function installation(app: GithubApp, runtime: Runtime, repository: string, ask: AskAsApp): Credentials {
  let current: { readonly token: string; readonly endsAt: number } | undefined;
  let renewing: Promise<string> | undefined;
  let { installationId } = app;

  const renew = async (): Promise<string> => {
    const jwt = appToken(runtime, app);
    if (installationId === undefined) {
      const found = await ask("GET", `/repos/${repository}/installation`, jwt);
      installationId = found["id"] as number;
    }
    const made = await ask("POST", `/app/installations/${installationId}/access_tokens`, jwt);
    const { token, expires_at: ends } = made;
    if (typeof token !== "string" || typeof ends !== "string" || Number.isNaN(Date.parse(ends))) {
      throw new SyncError("UNAVAILABLE", "GitHub gave no installation token", { store: "github" });
    }
    current = { token, endsAt: Date.parse(ends) };
    return token;
  };

  return {
    identity: `app ${app.appId} ${app.installationId ?? repository}`,
    token(options) {
      if (current !== undefined && runtime.now() < current.endsAt - RENEW_MS) return Promise.resolve(current.token);
      // Whoever asked first may give up: the others need it all the same.
      renewing ??= renew().finally(() => {
        renewing = undefined;
      });
      return forCaller(renewing, options, runtime, "github", "sign in");
    },
    refused(token) {
      if (current?.token === token) current = undefined;
      return true;
    },
  };
}
