import type { Cost } from "../../budget.ts";
import { SyncError } from "../../error.ts";
import { randomBelow, sleep } from "../../runtime.ts";
import type { Runtime } from "../../runtime.ts";
import { aborted } from "../../store.ts";
import type { CallOptions } from "../../store.ts";
import type { Credentials } from "./credentials.ts";
import { limited, pauseOf, statusError } from "./failures.ts";
import type { Http, HttpAnswer } from "../wire/http.ts";
import { GRAPHQL_HOURLY, REST_HOURLY } from "./spending.ts";
import type { GithubBudgets } from "./spending.ts";

export interface ApiSettings {
  readonly runtime: Runtime;
  readonly http: Http;
  readonly credentials: Credentials;
  readonly budgets: GithubBudgets;
  /** Where REST paths begin, without a slash at the end. */
  readonly rest: string;
  readonly graphql: string;
  /** For one call: its turn in the budget, its request, and what is tried again. */
  readonly timeoutMs: number;
  /** Told of each answer, see `onAnswer` of open.ts. */
  readonly onAnswer?: ((date: number | undefined) => void) | undefined;
}

export interface Call {
  readonly method: "GET" | "POST" | "PUT" | "PATCH";
  /** From {@link ApiSettings.rest} on, with a slash at the beginning. */
  readonly path: string;
  readonly body?: unknown;
  readonly accept?: string | undefined;
  /** The answer is 304, which costs nothing of the hourly limit, when this is still its tag. */
  readonly etag?: string | undefined;
  /** What it counts; default one read. */
  readonly cost?: Cost | undefined;
  /** May be sent twice: a failure on the way is tried again. Default: GET may. */
  readonly repeatable?: boolean | undefined;
}

/** What a GraphQL server says went wrong. */
export interface GraphqlProblem {
  readonly type?: string;
  readonly message?: string;
  /** Of the field that it speaks of. */
  readonly path?: readonly (string | number)[];
  readonly extensions?: { readonly code?: string };
}

/** What a GraphQL request came back with: both may be there. */
export interface GraphqlAnswer {
  readonly data: Readonly<Record<string, unknown>> | undefined;
  readonly errors: readonly GraphqlProblem[];
}

/** GitHub's two interfaces for one credential: authenticated, paced by its budget, tried again where that is harmless. */
export interface Api {
  /**
   * Answers of status 2xx, 304, 404, 409 and 422; the caller knows what they mean.
   * @throws SyncError for every other one, and for limits, with `retryAfterMs`.
   */
  rest(call: Call, options: CallOptions): Promise<HttpAnswer>;
  /** Undefined: there is no GraphQL at this address. Errors in the answer are the caller's. */
  query(
    text: string,
    variables: Readonly<Record<string, unknown>>,
    options: CallOptions,
  ): Promise<GraphqlAnswer | undefined>;
  /** As query, for what changes something: it is sent once. */
  mutate(text: string, variables: Readonly<Record<string, unknown>>, options: CallOptions): Promise<GraphqlAnswer>;
}

const ANSWER_BYTES_MAX = 160 * 1024 * 1024;
const TRIES_MAX = 3;
const BACKOFF_MS = 200;
const ANSWERS = new Set([304, 404, 409, 422]);
/** One version of the interface, so that a later one cannot change what answers look like. */
const API_VERSION = "2022-11-28";
const JSON_TYPE = "application/vnd.github+json";

interface Sending {
  readonly method: Call["method"];
  readonly url: string;
  readonly operation: string;
  readonly accept: string;
  readonly etag: string | undefined;
  readonly body: string | undefined;
  readonly which: "rest" | "graphql";
  readonly cost: Cost;
  readonly repeatable: boolean;
}

export function githubApi(settings: ApiSettings): Api {
  const { runtime, http, credentials, budgets, timeoutMs } = settings;
  let underWay = 0;

  /** Its turn: at once, later, or never within the time there is. */
  const afford = async (sending: Sending, options: CallOptions, deadline: number): Promise<void> => {
    const { cost, which } = sending;
    // Creations and pushes are counted together, whichever interface makes them.
    const makes = { create: cost.create ?? 0, push: cost.push ?? 0 };
    const asks = { read: cost.read ?? 0, write: cost.write ?? 0 };
    const parts =
      which === "rest"
        ? [[budgets.rest, { ...asks, ...makes }] as const]
        : [[budgets.rest, makes] as const, [budgets.graphql, asks] as const];
    for (const [budget, part] of parts) {
      const waitMs = budget.waitMs(part);
      if (waitMs > 0 && waitMs > deadline - runtime.monotonic()) {
        throw limited(`the budget of ${budget.name} is used up`, sending.operation, waitMs);
      }
    }
    for (const [budget, part] of parts) await budget.take(part, { signal: options.signal, deadline });
  };

  /** Takes over what the server counts. */
  const account = (answer: HttpAnswer): void => {
    const remaining = Number(answer.headers["x-ratelimit-remaining"] ?? Number.NaN);
    const resetAt = Number(answer.headers["x-ratelimit-reset"] ?? Number.NaN) * 1000;
    const resource = answer.headers["x-ratelimit-resource"];
    if (!(remaining >= 0 && resetAt > 0)) return;
    if (resource === "core") budgets.rest.correct({ limit: REST_HOURLY, remaining, resetAt, underWay });
    if (resource === "graphql") budgets.graphql.correct({ limit: GRAPHQL_HOURLY, remaining, resetAt, underWay });
  };

  const once = async (sending: Sending, options: CallOptions, deadline: number) => {
    const token = await credentials.token({ signal: options.signal, deadline });
    const headers: Record<string, string> = {
      accept: sending.accept,
      "user-agent": "microsync",
      "x-github-api-version": API_VERSION,
    };
    if (token !== undefined) headers["authorization"] = `Bearer ${token}`;
    if (sending.etag !== undefined) headers["if-none-match"] = sending.etag;
    if (sending.body !== undefined) headers["content-type"] = "application/json";
    underWay++;
    try {
      const request = {
        method: sending.method,
        url: sending.url,
        headers,
        body: sending.body,
      };
      const answer = await http.send(request, ANSWER_BYTES_MAX, { signal: options.signal, deadline });
      settings.onAnswer?.(dateOf(answer));
      return { answer, token };
    } finally {
      underWay--;
    }
  };

  const send = async (sending: Sending, options: CallOptions): Promise<HttpAnswer> => {
    const end = runtime.monotonic() + timeoutMs;
    const deadline = options.deadline === undefined ? end : Math.min(end, options.deadline);
    const { operation, repeatable } = sending;
    let renewed = false;
    let failure: SyncError | undefined;
    for (let tries = 1; ; tries++) {
      try {
        await afford(sending, options, deadline);
      } catch (error) {
        // What became of the request that was sent counts, not that there was no time to send it again.
        throw failure ?? error;
      }
      let sent: Awaited<ReturnType<typeof once>>;
      try {
        sent = await once(sending, options, deadline);
      } catch (error) {
        if (!(error instanceof SyncError) || error.code !== "UNAVAILABLE" || !repeatable || tries >= TRIES_MAX) {
          throw error;
        }
        failure = error;
        await pause(options, deadline, tries);
        continue;
      }
      const { answer, token } = sent;
      account(answer);
      const { status } = answer;
      if ((status >= 200 && status < 300) || ANSWERS.has(status)) return answer;
      const pauseMs = pauseOf(answer, runtime.now());
      if (pauseMs !== undefined) {
        // The request was not carried out: sending it again later is harmless whatever it was.
        budgets[sending.which].notBefore(runtime.now() + pauseMs);
        if (sending.which === "graphql") budgets.rest.notBefore(runtime.now() + pauseMs);
        failure = limited("GitHub asks to slow down", operation, pauseMs);
        if (tries >= TRIES_MAX || pauseMs > deadline - runtime.monotonic()) throw failure;
        continue;
      }
      failure = statusError(answer, operation);
      if (status === 401 && !renewed && token !== undefined && credentials.refused(token)) {
        renewed = true;
        continue;
      }
      if (status < 500 || !repeatable || tries >= TRIES_MAX) throw failure;
      await pause(options, deadline, tries);
    }
  };

  const pause = async ({ signal }: CallOptions, deadline: number, tries: number): Promise<void> => {
    const delayMs = BACKOFF_MS * 2 ** tries + randomBelow(runtime, BACKOFF_MS);
    const left = Math.max(0, deadline - runtime.monotonic());
    await sleep(runtime, Math.min(delayMs, left), signal).catch(() => {
      if (signal !== undefined) throw aborted(signal, "github", "request");
    });
  };

  const graphql = async (
    text: string,
    variables: Readonly<Record<string, unknown>>,
    options: CallOptions,
    cost: Cost,
  ): Promise<GraphqlAnswer | undefined> => {
    const mutates = cost.write !== undefined;
    const answer = await send(
      {
        method: "POST",
        url: settings.graphql,
        operation: mutates ? "graphql mutation" : "graphql query",
        accept: JSON_TYPE,
        etag: undefined,
        body: JSON.stringify({ query: text, variables }),
        which: "graphql",
        cost,
        repeatable: !mutates,
      },
      options,
    );
    if (answer.status === 404) return undefined;
    if (answer.status !== 200) throw statusError(answer, "graphql");
    const { data, errors } = json(answer) as Partial<GraphqlAnswer>;
    const problems = errors ?? [];
    if (problems.some(({ type }) => type === "RATE_LIMITED")) {
      const until = Number(answer.headers["x-ratelimit-reset"] ?? Number.NaN) * 1000;
      const waitMs = until > 0 ? Math.max(0, until - runtime.now()) : 60_000;
      budgets.graphql.notBefore(runtime.now() + waitMs);
      throw limited("GitHub asks to slow down", "graphql", waitMs);
    }
    return { data: data ?? undefined, errors: problems };
  };

  return {
    rest: ({ method, path, body, accept, etag, cost, repeatable }, options) =>
      send(
        {
          method,
          url: settings.rest + path,
          operation: `${method} ${path.replace(/\?.*$/, "")}`,
          accept: accept ?? JSON_TYPE,
          etag,
          body: body === undefined ? undefined : JSON.stringify(body),
          which: "rest",
          cost: cost ?? { read: 1 },
          repeatable: repeatable ?? method === "GET",
        },
        options,
      ),
    query: (text, variables, options) => graphql(text, variables, options, { read: 1 }),
    async mutate(text, variables, options) {
      const answer = await graphql(text, variables, options, { write: 1, create: 1, push: 1 });
      if (answer === undefined) throw new SyncError("UNSUPPORTED", "there is no GraphQL here", { store: "github" });
      return answer;
    },
  };
}

function dateOf({ headers }: HttpAnswer): number | undefined {
  const date = Date.parse(headers["date"] ?? "");
  return Number.isNaN(date) ? undefined : date;
}

const text = new TextDecoder();

/** The answer's JSON. @throws SyncError UNAVAILABLE: what is not JSON is not from GitHub. */
export function json({ bytes }: Pick<HttpAnswer, "bytes">): unknown {
  try {
    return JSON.parse(text.decode(bytes));
  } catch {
    // What the parser says quotes the text, which may be somebody's value.
    throw new SyncError("UNAVAILABLE", "the answer is not JSON", {
      store: "github",
      cure: "check that the address is GitHub's API, and what stands between",
    });
  }
}
