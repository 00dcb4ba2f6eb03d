import { createHmac, timingSafeEqual } from "node:crypto";
import { SyncError } from "../../error.ts";

/** What a server of one's own does with what GitHub sends it. */
export interface GithubWebhook {
  /**
   * Takes one delivery, with the bytes of its body as they came. True: it is from GitHub; every store that was opened
   * with this webhook looks at its branch at once, if it is the one that was pushed to. False: it is not; answer 401.
   */
  receive(headers: WebhookHeaders, body: Uint8Array): boolean;
  /** For stores: calls back for each push to the branch (`owner/repo`, in any case), until it is told to stop. */
  subscribe(repository: string, branch: string, wake: () => void): () => void;
}

/** As Node's http gives them, or a Headers. */
export type WebhookHeaders =
  Readonly<Record<string, string | readonly string[] | undefined>> | { get(name: string): string | null };

/** GitHub sends no more, docs.github.com, "Webhook events and payloads". */
const BODY_BYTES_MAX = 25 * 1024 * 1024;
const SECRET_CHARACTERS_MIN = 16;

/**
 * Deliveries wake watches, and nothing else: a watch that no delivery reaches still looks at its interval.
 * @throws SyncError INVALID for a secret that could be guessed.
 */
export function githubWebhook({ secret }: { readonly secret: string }): GithubWebhook {
  if (secret.length < SECRET_CHARACTERS_MIN) {
    throw new SyncError("INVALID", `the secret of a webhook has at least ${SECRET_CHARACTERS_MIN} characters`, {
      store: "github",
      cure: "make a random one, and give GitHub the same",
    });
  }
  const listeners = new Set<{ readonly name: string; readonly wake: () => void }>();
  return {
    receive(headers, body) {
      const signature = /^sha256=([0-9a-f]{64})$/.exec(headerIn(headers, "x-hub-signature-256") ?? "")?.[1];
      if (signature === undefined || body.length > BODY_BYTES_MAX) return false;
      const expected = createHmac("sha256", secret).update(body).digest();
      if (!timingSafeEqual(expected, Buffer.from(signature, "hex"))) return false;
      if (headerIn(headers, "x-github-event") !== "push") return true; // a ping, or what the hook was not made for
      const pushed = pushedTo(body);
      for (const { name, wake } of listeners) if (name === pushed) wake();
      return true;
    },
    subscribe(repository, branch, wake) {
      const listener = { name: nameOf(repository, `refs/heads/${branch}`), wake };
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

function headerIn(headers: WebhookHeaders, name: string): string | undefined {
  if (typeof headers.get === "function") return headers.get(name) ?? undefined;
  const value = (headers as Readonly<Record<string, string | readonly string[] | undefined>>)[name];
  return typeof value === "string" ? value : value?.[0];
}

function nameOf(repository: string, ref: string): string {
  return `${repository.toLowerCase()} ${ref}`;
}

function pushedTo(body: Uint8Array): string | undefined {
  try {
    const { ref, repository } = JSON.parse(new TextDecoder().decode(body)) as {
      ref: string;
      repository: { full_name: string };
    };
    return nameOf(repository.full_name, ref);
  } catch {
    return undefined; // signed, but not the push it says it is: nobody is woken
  }
}
