import { cut } from "../../body.ts";
import { SyncError } from "../../error.ts";
import { inParallel } from "../../in-parallel.ts";
import { randomBelow, sleep } from "../../runtime.ts";
import type { Runtime } from "../../runtime.ts";
import { aborted } from "../../store.ts";
import type { CallOptions } from "../../store.ts";
import type { Http, HttpHead } from "../wire/http.ts";
import { checked, checkedPart } from "./checked.ts";
import type { LfsFiles, Upload } from "./files.ts";
import type { Pointer } from "./pointer.ts";

/** Where the server is for an operation, and what it wants to be shown. Never part of an error. */
export interface LfsAccess {
  /** Without a slash at its end; `/objects/batch` is below it. */
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
}

export interface LfsServerSettings {
  readonly runtime: Runtime;
  readonly http: Http;
  /** The store's name, for errors. */
  readonly store: string;
  /** The branch, which a server may have rules for. */
  readonly branch: string;
  readonly access: (operation: "upload" | "download", options: CallOptions) => Promise<LfsAccess>;
}

const TYPE = "application/vnd.git-lfs+json";
const BATCH_MAX = 100;
const PARALLEL = 3;
const TRIES_MAX = 3;
const BACKOFF_MS = 250;
const ANSWER_BYTES_MAX = 4 * 1024 * 1024;
const AGAIN = new Set([408, 429, 500, 502, 503, 504]);

interface Action {
  readonly href: string;
  readonly header?: Readonly<Record<string, string>> | undefined;
}

interface Answered {
  readonly oid: string;
  readonly authenticated?: boolean;
  readonly actions?: { readonly upload?: Action; readonly download?: Action; readonly verify?: Action };
  readonly error?: { readonly code: number; readonly message: string };
}

/** Git LFS over HTTP: the batch API with basic transfers. Source: git-lfs, docs/api/batch.md and basic-transfers.md. */
export function lfsServer(settings: LfsServerSettings): LfsFiles {
  const { runtime, http, store, branch, access } = settings;

  /** Tries again what is harmless to repeat, as long as the server's trouble may be over. */
  const trying = async <T>(options: CallOptions, attempt: () => Promise<T>): Promise<T> => {
    for (let tries = 1; ; tries++) {
      try {
        return await attempt();
      } catch (error) {
        const isPassing = error instanceof SyncError && error.code === "UNAVAILABLE" && error.retryable;
        if (!isPassing || tries >= TRIES_MAX) throw error;
        const delayMs = error.retryAfterMs ?? BACKOFF_MS * 2 ** tries + randomBelow(runtime, BACKOFF_MS);
        if (options.deadline !== undefined && delayMs > options.deadline - runtime.monotonic()) throw error;
        if (delayMs > RETRY_AFTER_MS_MAX) throw error;
        const { signal } = options;
        await sleep(runtime, delayMs, signal).catch(() => {
          if (signal !== undefined) throw aborted(signal, store, "lfs");
        });
      }
    }
  };

  const batch = (operation: "upload" | "download", objects: readonly Pointer[], options: CallOptions) =>
    trying(options, async () => {
      const { url, headers } = await access(operation, options);
      const body = JSON.stringify({
        operation,
        transfers: ["basic"],
        ref: { name: `refs/heads/${branch}` },
        objects: objects.map(({ oid, size }) => ({ oid, size })),
        hash_algo: "sha256",
      });
      const all = { ...headers, accept: TYPE, "content-type": TYPE, "user-agent": "microsync" };
      const request = { method: "POST", url: `${url}/objects/batch`, headers: all, body } as const;
      const answer = await http.send(request, ANSWER_BYTES_MAX, options);
      if (answer.status !== 200) throw refused(answer, store, operation);
      return { found: objectsOf(answer.bytes, store), url, headers };
    });

  /** The headers of an action; ours too when the server asks for credentials of its own address there. */
  const headersFor = ({ href, header = {} }: Action, answered: Answered, at: LfsAccess): Record<string, string> => {
    const target = URL.canParse(href) ? new URL(href) : undefined;
    const own = new URL(at.url);
    if (target === undefined || (own.protocol === "https:" && target.protocol !== "https:")) {
      throw new SyncError("UNAVAILABLE", "the LFS server names an address that is not safe", {
        store,
        operation: "lfs",
        cure: "let the server hand out https addresses",
      });
    }
    const given = Object.fromEntries(Object.entries(header).map(([name, value]) => [name.toLowerCase(), value]));
    const isOurs = target.origin === own.origin && answered.authenticated !== true;
    return { "user-agent": "microsync", ...(isOurs ? at.headers : {}), ...given };
  };

  const send = async (object: Upload, answered: Answered, at: LfsAccess, options: CallOptions): Promise<void> => {
    const { upload, verify } = answered.actions ?? {};
    if (upload !== undefined) {
      await trying(options, async () => {
        const headers = {
          "content-type": "application/octet-stream",
          ...headersFor(upload, answered, at),
          "content-length": String(object.size),
        };
        const request = {
          method: "PUT",
          url: upload.href,
          headers,
          body: checked(object.content(), object, store),
        } as const;
        const answer = await http.send(request, ANSWER_BYTES_MAX, options);
        if (answer.status < 200 || answer.status > 299) throw refused(answer, store, "upload");
      });
    }
    if (verify !== undefined) {
      await trying(options, async () => {
        const headers = { ...headersFor(verify, answered, at), accept: TYPE, "content-type": TYPE };
        const body = JSON.stringify({ oid: object.oid, size: object.size });
        const request = { method: "POST", url: verify.href, headers, body } as const;
        const answer = await http.send(request, ANSWER_BYTES_MAX, options);
        if (answer.status < 200 || answer.status > 299) throw refused(answer, store, "verify");
      });
    }
  };

  return {
    async upload(objects, options) {
      for (let from = 0; from < objects.length; from += BATCH_MAX) {
        const piece = objects.slice(from, from + BATCH_MAX);
        const { found, ...at } = await batch("upload", piece, options);
        const byId = new Map(found.map((answered) => [answered.oid, answered]));
        await inParallel(piece, PARALLEL, async (object) => {
          const answered = byId.get(object.oid);
          if (answered === undefined || answered.error !== undefined) throw notTaken(object, answered, store);
          await send(object, answered, at, options);
        });
      }
    },
    async *download(pointer, options, part) {
      if (part !== undefined && part.to <= part.from) return;
      const { body, status } = await trying(options, async () => {
        const { found, ...at } = await batch("download", [pointer], options);
        const answered = found.find(({ oid }) => oid === pointer.oid);
        const action = answered?.actions?.download;
        if (answered === undefined || action === undefined) throw notThere(pointer, answered, store);
        const headers = headersFor(action, answered, at);
        if (part !== undefined) headers["range"] = `bytes=${part.from}-${part.to - 1}`;
        const request = { method: "GET", url: action.href, headers } as const;
        const stream = await http.stream(request, options);
        if (stream.status === 200 || (part !== undefined && stream.status === 206)) return stream;
        for await (const piece of stream.body) if (piece.length > ANSWER_BYTES_MAX) break; // frees the connection
        throw refused(stream, store, "download");
      });
      if (part === undefined) yield* checked(body, pointer, store);
      // A server may ignore the range.
      else yield* checkedPart(status === 206 ? body : cut(body, part.from, part.to), part, store);
    },
    close: () => http.close(),
  };
}

/** Source: git-lfs honours as much, `lfs.transfer.maxretrydelay`. */
const RETRY_AFTER_MS_MAX = 300_000;

function objectsOf(bytes: Uint8Array, store: string): readonly Answered[] {
  try {
    const { objects } = JSON.parse(new TextDecoder().decode(bytes)) as { objects?: readonly Answered[] };
    if (Array.isArray(objects)) return objects as readonly Answered[];
  } catch {
    return notLfs(store);
  }
  return notLfs(store);
}

function notLfs(store: string): never {
  throw new SyncError("UNSUPPORTED", "what answers is no LFS server", { store, operation: "lfs", cure: NO_SERVER });
}

const NO_SERVER = "name the server by the option lfsUrl, or keep large values in git by lfs: false";

function refused({ status, headers }: HttpHead, store: string, operation: string): SyncError {
  const what = `the LFS server answers ${status} to the ${operation}`;
  const place = { store, operation: "lfs" };
  const after = Number(headers["retry-after"] ?? Number.NaN);
  const retryAfter = after >= 0 ? { retryAfterMs: after * 1000 } : {};
  if (status === 401 || status === 403) {
    return new SyncError("UNAUTHORISED", what, { ...place, cure: "check the credentials for the LFS server" });
  }
  if (operation !== "download" && (status === 404 || status === 405 || status === 501)) {
    return new SyncError("UNSUPPORTED", what, { ...place, cure: NO_SERVER });
  }
  if (status === 413 || status === 507 || status === 509) {
    const cure = "the storage or bandwidth quota of the LFS server is used up, or the file too large for it";
    return new SyncError("TOO_LARGE", what, { ...place, cure });
  }
  return new SyncError("UNAVAILABLE", what, {
    ...place,
    ...retryAfter,
    retryable: AGAIN.has(status),
    cure: "try again later",
  });
}

function notTaken({ oid }: Pointer, answered: Answered | undefined, store: string): SyncError {
  const code = answered?.error?.code;
  const what = `the LFS server does not take the large file ${oid}${code === undefined ? "" : ` (${code})`}`;
  const cure = "check the server's limits and quota";
  return new SyncError(code === 413 || code === 422 ? "TOO_LARGE" : "UNAVAILABLE", what, {
    store,
    operation: "lfs",
    cure,
  });
}

function notThere({ oid }: Pointer, answered: Answered | undefined, store: string): SyncError {
  const code = answered?.error?.code;
  const what = `the LFS server does not have the large file ${oid}${code === undefined ? "" : ` (${code})`}`;
  const cure = "push it from a clone that has it, by git lfs push --all";
  return new SyncError("NOT_FOUND", what, { store, operation: "lfs", cure });
}
