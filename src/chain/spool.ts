import { collected, wrongBytes } from "../body.ts";
import type { Body } from "../body.ts";
import type { Copy } from "../entry.ts";
import { SyncError } from "../error.ts";
import { Bodies } from "../journal/bodies.ts";
import type { KeptBody } from "../journal/bodies.ts";
import type { Files } from "../journal/files.ts";
import type { Pending } from "../journal/contract.ts";
import type { Journal } from "../journal/journal.ts";
import type { Runtime } from "../runtime.ts";
import type { CallOptions, Write } from "../store.ts";
import type { ChainState } from "./state.ts";

/** A value that came as a stream, in a file of this machine: it can be read as often as layers need it. */
export interface Spooled {
  readonly body: Body;
  /** Its writer needs it no more; layers that still lack it keep it. */
  release(): void;
}

/**
 * Takes a stream into a file: of the journal, where there is one, else of the spool.
 * @throws SyncError UNSUPPORTED where there is neither; what the source throws; then nothing of it stays.
 */
export async function spool(
  { behind, spooled, name }: ChainState,
  source: AsyncIterable<Uint8Array>,
  call: CallOptions | undefined,
): Promise<Spooled> {
  if (behind !== undefined) {
    const { journal } = behind;
    const body = await journal.bodies.take(source, call);
    return { body, release: () => journal.bodies.drop(body) };
  }
  if (spooled === undefined) {
    throw new SyncError("UNSUPPORTED", "the chain has no place for a value that comes as a stream", {
      store: name,
      operation: "write",
      cure: "give the chain a journal, or the option spool",
    });
  }
  const body = await spooled.take(source, call);
  return { body, release: () => spooled.drop(body) };
}

/** The spool of a chain. One file that cannot be removed now goes with the next, or with its folder. */
export function openSpool(files: Files, runtime: Runtime, bytesMax: number): Bodies {
  const spooled = new Bodies(files, runtime);
  spooled.roomLeft = () => bytesMax - spooled.bytes;
  spooled.onDoomed = () => void spooled.tidyAfter(() => Promise.resolve()).catch(() => undefined);
  return spooled;
}

/** A layer lacks a write that has a body: its file stays until the layer has it, or something newer. */
export function holdLate({ spooled }: ChainState, { body }: Write): void {
  if (body !== undefined && spooled?.owns(body) === true) spooled.hold(body);
}

export function dropLate({ spooled }: ChainState, write: Write | undefined): void {
  if (write?.body === undefined || spooled?.owns(write.body) !== true) return;
  spooled.drop(write.body);
}

/** What the journal has of a key, with a value that came as a stream in one piece where it is not large. */
export async function wholeIfSmall(
  journal: Journal,
  pending: Pending,
  wholeBytesMax: number,
): Promise<Omit<Copy, "asOf">> {
  const { body } = pending;
  const entry = await journal.body(pending);
  if (body === undefined || body.size > wholeBytesMax) return { entry, body };
  return { entry: { ...entry, state: "value", value: await collected(body) } };
}

/** The writes with their bodies in the journal, for as long as `work` takes; records hold them longer. */
export async function keepBodies<T>(
  journal: Journal,
  writes: readonly Write[],
  call: CallOptions | undefined,
  work: (writes: readonly Write[]) => Promise<T>,
): Promise<T> {
  const kept: KeptBody[] = [];
  try {
    const own: Write[] = [];
    for (const write of writes) {
      const { body } = write;
      if (body === undefined || journal.bodies.owns(body)) own.push(write);
      else {
        const taken = await journal.bodies.take(body.content(undefined, call), call);
        kept.push(taken);
        if (taken.size !== body.size || (body.sha256 ?? taken.sha256) !== taken.sha256)
          throw wrongBytes({ key: write.entry.key });
        own.push({ ...write, body: taken });
      }
    }
    return await work(own);
  } finally {
    for (const body of kept) journal.bodies.drop(body);
  }
}
