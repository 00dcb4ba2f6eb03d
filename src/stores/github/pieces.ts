import { SyncError } from "../../error.ts";
import type { CallOptions } from "../../store.ts";
import type { Api, GraphqlProblem } from "./api.ts";
import { pace } from "./pace.ts";

/** How a piece of many questions about a repository is put, and what its answer says of each. */
export interface Query {
  /** The fields of the repository. */
  fields(piece: readonly string[]): string;
  /** What `F` is in them: a type and its fields. */
  readonly fragment: string;
  /** In the piece's order. @throws SyncError when the answer cannot be believed. */
  found(repository: Answer, piece: readonly string[], problems: readonly GraphqlProblem[]): unknown[];
}

export type Answer = Readonly<Record<string, unknown>>;

/** Questions by GraphQL: many in one request, as many as GitHub answers in time. */
export interface Pieces {
  /** How many go into the next request; 0: there is no GraphQL. */
  readonly size: number;
  /**
   * Tells what was found of each. Those that are left over when there is no GraphQL are returned.
   * @param bytesOf about what one adds to an answer: a piece is cut before they are too many.
   */
  ask(
    all: readonly string[],
    query: Query,
    take: (one: string, found: unknown) => void,
    bytesOf?: (one: string) => number,
  ): Promise<readonly string[]>;
}

/** In one request. Its text gets long, and GitHub gives up after ten seconds. */
const TOGETHER = { min: 1, start: 50, max: 100 };
const BYTES_MAX = 2 * 1024 * 1024;
const NO_OPTIONS: CallOptions = {};
const none = () => 0;

export function githubPieces(api: Api, owner: string, repo: string): Pieces {
  const together = pace(TOGETHER.min, TOGETHER.start, TOGETHER.max);
  let hasGraphql = true;

  /** Undefined: there is no GraphQL. */
  const once = async (piece: readonly string[], query: Query): Promise<unknown[] | undefined> => {
    const text = `query($owner:String!,$name:String!){repository(owner:$owner,name:$name){${query.fields(piece)}}} fragment F on ${query.fragment}`;
    const answer = await api.query(text, { owner, name: repo }, NO_OPTIONS);
    if (answer === undefined) return undefined;
    const repository = answer.data?.["repository"] as Answer | null | undefined;
    if (repository != null) return query.found(repository, piece, answer.errors);
    const [problem] = answer.errors;
    const what = `GitHub cannot answer: ${problem?.message?.slice(0, 200) ?? "no reason given"}`;
    const code = problem?.extensions?.code === "undefinedField" ? "UNSUPPORTED" : "UNAVAILABLE";
    throw new SyncError(code, what, { store: "github", operation: "graphql" });
  };

  return {
    get size() {
      return hasGraphql ? together.size : 0;
    },
    async ask(all, query, take, bytesOf = none) {
      for (let at = 0; at < all.length && hasGraphql;) {
        const piece: string[] = [];
        let bytes = 0;
        for (const next of all.slice(at, at + together.size)) {
          bytes += bytesOf(next);
          if (piece.length > 0 && bytes > BYTES_MAX) break;
          piece.push(next);
        }
        let found: unknown[] | undefined;
        try {
          found = await once(piece, query);
        } catch (error) {
          const code = error instanceof SyncError && error.retryAfterMs === undefined ? error.code : undefined;
          if ((code === "UNAVAILABLE" || code === "TIMEOUT") && piece.length > 1 && together.shrink()) continue;
          throw error;
        }
        if (found === undefined) {
          hasGraphql = false;
          return all.slice(at);
        }
        for (const [i, one] of piece.entries()) take(one, found[i]);
        together.grow();
        at += piece.length;
      }
      return hasGraphql ? [] : all;
    },
  };
}
