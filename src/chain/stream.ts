import { BODY_BYTES_MIN, isPart } from "../body.ts";
import type { Body } from "../body.ts";
import { stubOf } from "../entry.ts";
import type { Copy } from "../entry.ts";
import { SyncError } from "../error.ts";
import type { CallOptions, Write } from "../store.ts";
import { messageOf } from "./call.ts";
import type { LayerCalls } from "./call.ts";
import type { Layer } from "./layer.ts";
import type { ChainState } from "./state.ts";

/** A call gets its layer's deadline once more for each so many bytes of bodies begun: what a slow line takes in it. */
const BYTES_PER_DEADLINE = 8 * 1024 * 1024;
const ENTRIES_PER_DEADLINE = 1_000;

/** What a look at versions asks for: values that are large are not brought. */
export const HEADS_ONLY = { wholeBytesMax: BODY_BYTES_MIN } as const;

/** For how many entries' time a call with these writes may take. */
export function entriesFor(writes: readonly Write[]): number {
  let entries = writes.length;
  for (let i = 0; i < writes.length; i++) {
    const { body } = writes[i] as Write;
    if (body !== undefined) entries += ENTRIES_PER_DEADLINE * (1 + Math.ceil(body.size / BYTES_PER_DEADLINE));
  }
  return entries;
}

/** What a layer is given of a value that is to be had piece by piece: the value where it takes such, else its stub. */
export function bodyFor(layer: Layer, { entry, asOf, body }: Write): Write {
  if (body !== undefined && takesBody(layer, body)) return { entry, asOf, body };
  return { entry: stubOf(entry), asOf };
}

function takesBody(layer: Layer, body: Body): boolean {
  return fits(layer, body) && (layer.role === "store" || layer.onWrite === "update");
}

function fits({ streamBytesMax }: Layer, { size }: Body): boolean {
  return streamBytesMax > 0 && size <= streamBytesMax;
}

/** What a layer above is given of a copy that was found below it. */
export function copyFor(layer: Layer, { entry, asOf, body }: Copy): Write {
  if (body !== undefined && fits(layer, body)) return { entry, asOf, body };
  const isLarge = body !== undefined || (entry.value !== null && entry.value.length > layer.valueBytesMax);
  return { entry: isLarge ? stubOf(entry) : entry, asOf };
}

/**
 * The body of a copy that also fills layers: whoever reads all of it, from the beginning, writes it to them at the pace of
 * the slowest that keeps up. A reader who stops early, or who asks for a part, fills nothing; nor does what no layer takes.
 */
export function filling(state: ChainState, copy: Copy & { readonly body: Body }, layers: readonly LayerCalls[]): Body {
  const { body } = copy;
  const takers = layers.filter(({ layer }) => !layer.readonly && fits(layer, body));
  if (takers.length === 0) return body;
  let isFilling = false;
  return {
    size: body.size,
    sha256: body.sha256,
    content(range, options) {
      if (isFilling || isPart(range, body.size)) return body.content(range, options);
      isFilling = true;
      return tee(state, copy, takers, options);
    },
  };
}

async function* tee(
  state: ChainState,
  copy: Copy & { readonly body: Body },
  takers: readonly LayerCalls[],
  options: CallOptions | undefined,
): AsyncIterable<Uint8Array> {
  const taps = takers.map((calls) => tapInto(state, calls, copy));
  try {
    for await (const piece of copy.body.content(undefined, options)) {
      for (const tap of taps) await tap.give(piece);
      yield piece;
    }
    for (const tap of taps) tap.end();
  } finally {
    // After the end this does nothing.
    for (const tap of taps) tap.giveUp();
  }
}

/** One layer that is being filled, from the reader's side. None of it throws: a fill that fails harms nobody. */
interface Tap {
  /** Resolves when the layer has used the piece, or has been given up. */
  give(piece: Uint8Array): Promise<void>;
  end(): void;
  giveUp(): void;
}

function tapInto(state: ChainState, { layer, counts }: LayerCalls, { entry, asOf, body }: Copy): Tap {
  const pipe = new Pipe(state, layer);
  const content = () => pipe.content();
  const given: Body = { size: body?.size ?? 0, sha256: body?.sha256, content };
  const filled = layer.store
    .write([{ entry, asOf, body: given }], { signal: pipe.signal })
    .then(([result]) => {
      if (result?.status === "failed") throw result.error;
      counts.fills++;
    })
    .catch((error: unknown) => {
      if (!pipe.wasLeft) state.report({ kind: "fill-failed", layer: layer.name, message: messageOf(error) });
    })
    .finally(() => pipe.close());
  state.background.add(filled);
  return pipe;
}

/** Hands pieces from the one who reads to the one who stores, one at a time. */
class Pipe implements Tap {
  /** The reader left: what fails by that is nobody's failure. */
  wasLeft = false;
  private readonly state: ChainState;
  private readonly layer: Layer;
  private readonly control = new AbortController();
  private waiting: { readonly piece: Uint8Array; readonly used: () => void } | undefined;
  private wake: (() => void) | undefined;
  private stands: "open" | "ended" | "closed" = "open";
  private isRead = false;

  constructor(state: ChainState, layer: Layer) {
    this.state = state;
    this.layer = layer;
  }

  get signal(): AbortSignal {
    return this.control.signal;
  }

  async give(piece: Uint8Array): Promise<void> {
    if (this.stands !== "open") return;
    const timer = this.stallTimer("takes no more of it");
    await new Promise<void>((used) => {
      this.waiting = { piece, used };
      this.wake?.();
    });
    timer.cancel();
  }

  end(): void {
    if (this.stands === "open") this.stands = "ended";
    this.wake?.();
  }

  giveUp(): void {
    if (this.stands !== "open") return;
    this.wasLeft = true;
    this.close();
  }

  close(): void {
    if (this.stands !== "ended") this.control.abort();
    this.stands = "closed";
    this.waiting?.used();
    this.waiting = undefined;
    this.wake?.();
  }

  async *content(): AsyncIterable<Uint8Array> {
    if (this.isRead) throw this.broken("a value that is being read cannot be read again from its beginning");
    this.isRead = true;
    for (;;) {
      if (this.waiting === undefined && this.stands === "open") await this.next();
      const { waiting } = this;
      if (waiting === undefined) {
        if (this.stands === "ended") return;
        throw this.broken("nobody reads the value to its end");
      }
      this.waiting = undefined;
      try {
        yield waiting.piece;
      } finally {
        waiting.used();
      }
    }
  }

  private async next(): Promise<void> {
    const timer = this.stallTimer("is read too slowly");
    await new Promise<void>((wake) => {
      this.wake = wake;
    });
    this.wake = undefined;
    timer.cancel();
  }

  /** Neither side holds up the other for longer than one call of the layer may take. */
  private stallTimer(what: string) {
    const { runtime, report } = this.state;
    const { deadlineMs, name } = this.layer;
    return runtime.timer(Math.min(deadlineMs, TIMER_MS_MAX), () => {
      report({ kind: "fill-failed", layer: name, message: `a large value ${what}: the layer is not filled with it` });
      this.wasLeft = true;
      this.close();
    });
  }

  private broken(what: string): SyncError {
    const cure = "the next reader fills the layer";
    return new SyncError("ABORTED", what, { store: this.layer.name, operation: "fill", cure });
  }
}

/** Longer timers fire at once on some platforms. */
const TIMER_MS_MAX = 2 ** 31 - 1;
