import type { Chain } from "../chain/chain.ts";
import { checkKey } from "../entry.ts";
import type { Slot, SlotIndex } from "../slot.ts";
import type { Answer } from "../store.ts";
import { CACHED, readOptions } from "./call.ts";
import { callOptions } from "./wait.ts";
import { indexOf } from "./engine.ts";
import type { Engine } from "./engine.ts";
import type { Kept, Lens } from "./lens.ts";
import { listEntries, listKeys } from "./listing.ts";
import { loadOnce } from "./load.ts";
import { ask, askBodies, askManyBodies, found, judge, whole } from "./reading.ts";
import type { Live } from "./reading.ts";
import type {
  ByteSource,
  CommonOptions,
  DeleteOptions,
  GetOptions,
  GetStreamOptions,
  LifeOptions,
  ListOptions,
  NamespaceOptions,
  SetManyOptions,
  SetOptions,
  SetOptionsOfLoad,
  SetStreamOptions,
  UpdateOptions,
  WatchOptions,
} from "./types.ts";
import { getStream, setStream } from "./streams.ts";
import { update } from "./update.ts";
import { watch } from "./watching.ts";
import { deleteOne, setMany, setOne } from "./writing.ts";

/**
 * A Sync without its types: the root, or a namespace. The hot path, a fresh hit in memory, is `get` without options and
 * `peek`: one look-up, one comparison of lenses, no closure and no await.
 */
export class View {
  private readonly engine: Engine;
  private readonly chain: Chain;
  private readonly lens: Lens;
  private readonly prefix: string;
  private readonly index: SlotIndex | undefined;
  /** Made once, so that each of many who wait for one walk costs no more than a promise. */
  private readonly received: (answer: Answer) => unknown;

  constructor(engine: Engine, lens: Lens, prefix: string) {
    this.engine = engine;
    this.chain = engine.chain;
    this.lens = lens;
    this.prefix = prefix;
    this.index = indexOf(engine, prefix);
    this.received = (answer) => this.valueOf(judge(engine, answer, CACHED));
  }

  get(key: string, options?: GetOptions): Promise<unknown> {
    if (options === undefined) {
      const slot = this.look(key);
      if (slot !== undefined) return this.hit(slot);
    }
    return this.getFar(key, options);
  }

  peek(key: string): unknown {
    const slot = this.look(key);
    if (slot === undefined) return undefined;
    if (slot.lens === this.lens) return slot.shared;
    // Only a holder of this chain's memory, which is Sync, sets `decoded`.
    const kept = slot.decoded as Kept | undefined;
    if (kept?.lens === this.lens) return kept.give();
    if (slot.state !== "value") return undefined;
    const made = this.engine.hold.ofSlot(slot, this.lens);
    if (!(made instanceof Promise)) return made.give();
    // An asynchronous schema has not judged the value yet. A refusal is told by `get`, which asks again.
    made.catch(() => undefined);
    return undefined;
  }

  async read(key: string, options?: GetOptions) {
    const live = await ask(this.engine, this.fullKey(key), options);
    return live === undefined ? undefined : found(this.engine, this.lens, live);
  }

  async has(key: string, options?: GetOptions): Promise<boolean> {
    return (await askBodies(this.engine, this.fullKey(key), options)) !== undefined;
  }

  async getMany(keys: Iterable<string>, options?: GetOptions): Promise<Map<string, unknown>> {
    const values = new Map<string, unknown>();
    const far: string[] = [];
    let valued = 0;
    for (const key of new Set(keys)) {
      const slot = options === undefined ? this.look(key) : undefined;
      const kept = slot?.decoded as Kept | undefined;
      let value: unknown;
      if (slot === undefined) far.push(key);
      else value = kept?.lens === this.lens ? kept.give() : await this.firstHit(slot);
      // Set now, though there may be none: the map is in the order asked.
      values.set(key, value);
      if (value !== undefined) valued++;
    }
    if (far.length > 0) {
      const fullKeys = this.prefix === "" ? far : far.map((key) => this.fullKey(key));
      const lives = await askManyBodies(this.engine, fullKeys, options);
      for (let i = 0; i < far.length; i++) {
        const given = this.valueOf(lives[i], options);
        const value = given instanceof Promise ? await given : given;
        if (value === undefined) continue;
        values.set(far[i] as string, value);
        valued++;
      }
    }
    return valued === values.size ? values : withoutNone(values);
  }

  set(key: string, value: unknown, options?: SetOptions) {
    try {
      return setOne(this.engine, this.lens, this.fullKey(key), value, options);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  async setStream(key: string, source: ByteSource, options?: SetStreamOptions) {
    return setStream(this.engine, this.lens, this.fullKey(key), source, options);
  }

  async getStream(key: string, options?: GetStreamOptions) {
    return getStream(this.engine, this.fullKey(key), options);
  }

  async setMany(items: Iterable<readonly [string, unknown, LifeOptions?]>, options?: SetManyOptions) {
    return setMany(this.engine, this.lens, this.prefix, items, options);
  }

  async delete(key: string, options?: DeleteOptions) {
    return deleteOne(this.engine, this.fullKey(key), options);
  }

  getOrSet(key: string, load: () => unknown, options?: SetOptionsOfLoad): Promise<unknown> {
    if (options?.freshness === undefined) {
      const slot = this.look(key);
      if (slot !== undefined && slot.state === "value") return this.hit(slot);
    }
    return this.getOrLoad(key, load, options ?? {});
  }

  async update(key: string, fn: (value: unknown) => unknown, options?: UpdateOptions): Promise<unknown> {
    return update(this.engine, this.lens, this.fullKey(key), fn, options);
  }

  list(options: ListOptions = {}) {
    return listKeys(this.engine, this.prefix, options);
  }

  entries(options: ListOptions = {}) {
    return listEntries(this.engine, this.lens, this.prefix, options);
  }

  watch(options: WatchOptions = {}) {
    return watch(this.engine, this.prefix, options);
  }

  namespace(prefix: string, options: NamespaceOptions = {}): View {
    const inner = this.prefix + prefix;
    checkKey(inner);
    const { codec, schema } = options;
    return new View(this.engine, codec === undefined && schema === undefined ? this.lens : this.lensOf(options), inner);
  }

  async flush(options?: CommonOptions): Promise<void> {
    return this.engine.chain.flush(callOptions(this.engine.runtime, options));
  }

  status() {
    return this.engine.chain.status();
  }

  async where(key: string, options?: CommonOptions) {
    const full = this.fullKey(key);
    checkKey(full);
    return this.engine.chain.where(full, callOptions(this.engine.runtime, options));
  }

  async close(): Promise<void> {
    return this.engine.chain.close();
  }

  private lensOf({ codec = this.lens.codec, schema = this.lens.schema }: NamespaceOptions): Lens {
    return { codec, schema };
  }

  private fullKey(key: string): string {
    if (typeof key !== "string") checkKey(key);
    return this.prefix + key;
  }

  private look(key: string): Slot | undefined {
    if (this.index !== undefined) return this.lookNear(key, this.index);
    if (this.prefix === "") return this.chain.look(key);
    return typeof key === "string" ? this.chain.look(this.prefix + key) : undefined;
  }

  /** The same by the namespace's own key. Putting the whole key together costs more than all else in a hit. */
  private lookNear(key: string, index: SlotIndex): Slot | undefined {
    const near = index.get(key);
    if (near !== undefined && this.chain.lookAgain(near)) return near;
    if (typeof key !== "string") return undefined;
    const slot = this.chain.look(this.prefix + key);
    if (slot !== undefined && slot.index === undefined) this.engine.hold.toIndex(slot, index, key);
    return slot;
  }

  private hit(slot: Slot): Promise<unknown> {
    const kept = slot.decoded as Kept | undefined;
    if (kept?.lens === this.lens) return kept.promise ?? kept.giveLater();
    return this.firstHit(slot);
  }

  private getFar(key: string, options: GetOptions | undefined): Promise<unknown> {
    try {
      const full = this.fullKey(key);
      checkKey(full);
      if (options === undefined) return this.chain.readOne(full).then(this.received);
      const asked = readOptions(this.engine.runtime, options);
      const answer = this.chain.readOne(full, asked);
      return answer.then((got) => this.valueOf(judge(this.engine, got, asked), options));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  private async getOrLoad(key: string, load: () => unknown, options: SetOptionsOfLoad): Promise<unknown> {
    const kept = await loadOnce(this.engine, this.lens, this.fullKey(key), load, options);
    return kept?.give();
  }

  private async firstHit(slot: Slot): Promise<unknown> {
    if (slot.state !== "value") return undefined;
    return (await this.engine.hold.ofSlot(slot, this.lens)).give();
  }

  private valueOf(live: Live | undefined, options?: GetOptions): unknown {
    if (live === undefined) return undefined;
    if (live.body !== undefined) return whole(this.engine, live, options).then((all) => this.valueOf(all, options));
    const kept = this.engine.hold.ofAnswer(live.entry, this.lens);
    return kept instanceof Promise ? kept.then((own) => own.give()) : kept.give();
  }
}

/** Without the keys that were asked for and have no value. */
function withoutNone(values: Map<string, unknown>): Map<string, unknown> {
  for (const [key, value] of values) if (value === undefined) values.delete(key);
  return values;
}
