import { chain } from "../../src/chain/chain.ts";
import type { Chain } from "../../src/chain/chain.ts";
import { layer } from "../../src/chain/layer.ts";
import { defaultCodec } from "../../src/codec.ts";
import type { Codec } from "../../src/codec.ts";
import { memory } from "../../src/stores/memory.ts";
import type { MemoryOptions, MemoryStore } from "../../src/stores/memory.ts";
import type { Answer, ReadOptions, Supports, Write, WriteResult } from "../../src/store.ts";
import { syncOver } from "../../src/sync.ts";
import type { Sync } from "../../src/sync.ts";
import { ReferenceStore, simulatedRuntime } from "../../src/testing/index.ts";
import type { ReferenceState, SimulatedRuntime } from "../../src/testing/index.ts";
import { versionClock } from "../../src/version.ts";
import type { VersionClock } from "../../src/version.ts";

/** A truth that counts what it is asked, and lets a test come in between. */
export class Truth extends ReferenceStore {
  reads = 0;
  writes = 0;
  beforeRead: ((keys: readonly string[]) => void | Promise<void>) | undefined;
  beforeWrite: ((writes: readonly Write[]) => void | Promise<void>) | undefined;

  override async read(keys: readonly string[], options?: ReadOptions): Promise<Answer[]> {
    this.reads++;
    await this.beforeRead?.(keys);
    return super.read(keys, options);
  }

  override async write(writes: readonly Write[], options?: object): Promise<WriteResult[]> {
    this.writes++;
    await this.beforeWrite?.(writes);
    return super.write(writes, options);
  }
}

/** The default codec, counting. */
export class CountingCodec implements Codec {
  encodes = 0;
  decodes = 0;

  encode(value: unknown) {
    this.encodes++;
    return defaultCodec.encode(value);
  }

  decode(bytes: Uint8Array, contentType: string | undefined) {
    this.decodes++;
    return defaultCodec.decode(bytes, contentType);
  }
}

export interface World {
  readonly db: Sync;
  readonly chain: Chain;
  readonly memory: MemoryStore;
  readonly truth: Truth;
  readonly codec: CountingCodec;
  readonly runtime: SimulatedRuntime;
  readonly clock: VersionClock;
}

export interface WorldOptions {
  readonly seed?: number;
  readonly memory?: Partial<MemoryOptions>;
  readonly runtime?: SimulatedRuntime;
  /** A truth that another world writes to as well. */
  readonly state?: ReferenceState;
  /** What the truth lacks. */
  readonly supports?: Partial<Supports>;
}

/** Memory over a shared truth, in simulated time. */
export async function world(options: WorldOptions = {}): Promise<World> {
  const drain = () => new Promise<void>((resolve) => setImmediate(resolve));
  const runtime = options.runtime ?? simulatedRuntime({ seed: options.seed ?? 1, drain });
  const clock = await versionClock({ runtime });
  const near = memory({ runtime, ...options.memory });
  const supports = { durable: true, shared: true, ...options.supports };
  const truth = new Truth({ runtime, name: "truth", supports, state: options.state });
  const codec = new CountingCodec();
  const layers = chain([layer(near), layer(truth)], { runtime, clock });
  const db = syncOver(layers, { codec });
  return { db, chain: layers, memory: near, truth, codec, runtime, clock };
}

export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}
