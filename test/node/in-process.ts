import type { SyncNode } from "../../src/node/node.ts";
import { ending } from "../../src/ending.ts";
import { SyncError } from "../../src/error.ts";
import { aborted } from "../../src/store.ts";
import type { CallOptions } from "../../src/store.ts";
import type { Transport } from "../../src/stores/http.ts";

/** What stands between a store and a node that are in one process. */
export interface Wire {
  readonly transport: Transport;
  /** Requests that were sent, by method and path. */
  readonly requests: string[];
  /** How many bytes the answers had that are no feeds. */
  bytes: number;
  /** The headers of the last one. */
  headers: Readonly<Record<string, string>>;
  /** Nothing reaches the node, and nothing comes back. */
  cut: boolean;
  /** Pieces of feeds are held back, as by a connection that hangs. */
  silent: boolean;
  /** Changes a piece of a feed on its way; undefined drops it. */
  tamper: (text: string) => string | undefined;
  /** Ends every feed that is open, as a connection that breaks. */
  breakFeeds(): void;
}

/** Requests that go to the node by a call, in whatever time it runs in. */
export function wireTo(node: () => SyncNode | undefined): Wire {
  const open = new Set<AbortController>();
  const wire: Wire = {
    requests: [],
    bytes: 0,
    headers: {},
    cut: false,
    silent: false,
    tamper: (text) => text,
    breakFeeds() {
      for (const control of open) control.abort();
    },
    transport: ({ runtime, store, timeoutMs }) => {
      const closing = ending();
      const failed = (what: string) => new SyncError("UNAVAILABLE", what, { store });
      /** The promise, or why nobody waits for it any more. */
      const patiently = <T>(work: Promise<T>, { signal, deadline }: CallOptions, gone: AbortSignal): Promise<T> =>
        new Promise<T>((resolve, reject) => {
          work.catch(() => undefined);
          const left = deadline === undefined ? timeoutMs : Math.min(timeoutMs, deadline - runtime.monotonic());
          const timer = runtime.timer(Math.max(0, left), () =>
            end(() => reject(new SyncError("TIMEOUT", "no answer", { store }))),
          );
          const onAbort = () => end(() => reject(aborted(signal as AbortSignal, store, "call")));
          const onGone = () =>
            end(() => reject(closing.isOver ? new SyncError("CLOSED", "closed", { store }) : failed("broken")));
          const end = (settle: () => void) => {
            timer.cancel();
            signal?.removeEventListener("abort", onAbort);
            gone.removeEventListener("abort", onGone);
            settle();
          };
          signal?.addEventListener("abort", onAbort, { once: true });
          gone.addEventListener("abort", onGone, { once: true });
          if (signal?.aborted === true) return onAbort();
          if (gone.aborted) return onGone();
          work.then(
            (value) => end(() => resolve(value)),
            (error: unknown) => end(() => reject(error instanceof SyncError ? error : failed(String(error)))),
          );
        });
      return {
        connections: 0,
        send: () => Promise.reject(failed("not used")),
        async stream({ method, url, headers, body }, options) {
          const { pathname, search } = new URL(url);
          wire.requests.push(`${method} ${pathname}`);
          wire.headers = headers;
          const control = new AbortController();
          const onClose = () => control.abort();
          closing.add(onClose);
          const isFeed = pathname.endsWith("/changes");
          if (isFeed) open.add(control);
          const there = node();
          if (wire.cut || there === undefined) throw failed("cut off");
          const init: RequestInit = {
            method,
            headers: { ...headers },
            ...(body === undefined ? {} : { body: body as Uint8Array<ArrayBuffer> }),
          };
          const request = new Request(`http://node.test${pathname}${search}`, init);
          const response = await patiently(there.fetch(request), options, control.signal);
          const pieces = async function* () {
            const reader = response.body?.getReader();
            try {
              for (;;) {
                const next = reader === undefined ? undefined : await patiently(reader.read(), options, control.signal);
                if (next === undefined || next.done) return;
                // Nothing comes any more, and nothing says that the connection is gone.
                if (isFeed && wire.silent) await patiently(new Promise(() => undefined), options, control.signal);
                if (!isFeed) {
                  wire.bytes += next.value.length;
                  yield next.value;
                } else if (!wire.cut) {
                  const text = wire.tamper(new TextDecoder().decode(next.value));
                  if (text !== undefined) yield new TextEncoder().encode(text);
                }
              }
            } finally {
              open.delete(control);
              closing.delete(onClose);
              reader?.cancel().catch(() => undefined);
            }
          };
          return { status: response.status, headers: Object.fromEntries(response.headers), body: pieces() };
        },
        close() {
          closing.end();
          return Promise.resolve();
        },
      };
    },
  };
  return wire;
}
