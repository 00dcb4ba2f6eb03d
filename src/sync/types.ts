import type { StandardSchemaV1 } from "@standard-schema/spec";
import type { ChainStatus, WhereAnswer } from "../chain/chain.ts";
import type { ByteRange } from "../body.ts";
import type { Codec } from "../codec.ts";
import type { Meta } from "../entry.ts";
import type { SyncError } from "../error.ts";
import type { Version } from "../version.ts";

/** What every call takes. */
export interface CommonOptions {
  /** Ends the call with ABORTED. What was already sent may still take effect. */
  readonly signal?: AbortSignal | undefined;
  /** How long the call may take, in milliseconds, before it ends with TIMEOUT. Default: the layers' own deadlines. */
  readonly timeoutMs?: number | undefined;
}

/**
 * How fresh an answer must be. "cached" (default): what the nearest layer holds, if it is fresh by that layer's `ttl`.
 * `maxAgeMs`: it was the newest at some moment in the last so many milliseconds. "authority": the layer that decides
 * is asked.
 */
export type Freshness = "cached" | "authority" | { readonly maxAgeMs: number };

export interface GetOptions extends CommonOptions {
  readonly freshness?: Freshness | undefined;
}

/**
 * What must have a write before it is acknowledged: a layer's name, or "all". With a journal also "journal", on disk here,
 * which is the default then, and "memory", this process alone. Without one the default is "all".
 */
export interface AckOptions extends CommonOptions {
  readonly ack?: string | undefined;
}

export interface LifeOptions {
  /** The value ends so many milliseconds from now. Not together with `expires`. */
  readonly ttlMs?: number | undefined;
  /** The value ends at this moment, in Unix milliseconds; null: never. */
  readonly expires?: number | null | undefined;
  /** Kept with the value: names `[a-z0-9-]+`, 1 KiB in all. `content-type` belongs to the codec. */
  readonly meta?: Meta | undefined;
}

/** At most one of the two conditions; the authority layer decides it, and the call ends with CONFLICT if it fails. */
export interface Condition {
  /** Only if the key has no value. */
  readonly ifAbsent?: boolean | undefined;
  /** Only if the key's version is exactly this one. */
  readonly ifVersion?: Version | undefined;
}

export interface SetOptions extends AckOptions, LifeOptions, Condition {}
export interface SetManyOptions extends AckOptions, LifeOptions {}

export interface DeleteOptions extends AckOptions {
  /** Only if the key's version is exactly this one; CONFLICT otherwise. */
  readonly ifVersion?: Version | undefined;
}

/** Bytes that come piece by piece. A `ReadableStream` of bytes is one, also where it cannot be iterated. */
export type ByteSource =
  | AsyncIterable<Uint8Array>
  | {
      getReader(): {
        read(): Promise<{ readonly done: boolean; readonly value?: Uint8Array | undefined }>;
        cancel(): Promise<void>;
      };
    };

export interface SetStreamOptions extends SetOptions {
  /** What the bytes are. Default `application/octet-stream`. */
  readonly contentType?: string | undefined;
}

export interface GetStreamOptions extends GetOptions {
  /** Which bytes. Default all. What is read so fills no layer. */
  readonly range?: ByteRange | undefined;
}

/** A value piece by piece, and what is known about it. */
export interface FoundStream {
  /**
   * The bytes, to be read once. A whole reading ends with CORRUPT in place of ending when they are not those that were
   * written. `signal` and `timeoutMs` of the call are for the reading too. Leaving the loop early gives everything back.
   */
  readonly stream: AsyncIterable<Uint8Array>;
  /** Of the whole value, in bytes. */
  readonly size: number;
  /** Which bytes the stream has: from `start` up to but not including `end`. */
  readonly start: number;
  readonly end: number;
  readonly version: Version;
  readonly expires: number | null;
  readonly meta: Meta;
  /** The layer that answered. */
  readonly layer: string;
  readonly ageMs: number | undefined;
  readonly stale: boolean;
}

/** What a write came to. */
export interface Written {
  readonly version: Version;
  /** Unix milliseconds, or null: never. */
  readonly expires: number | null;
  /** A newer version that the layers already had, and keep: somebody else wrote at the same time. */
  readonly supersededBy: Version | undefined;
}

/** A value and what is known about it. */
export interface Found<T> {
  readonly value: T;
  readonly version: Version;
  readonly expires: number | null;
  readonly meta: Meta;
  /** The layer that answered. */
  readonly layer: string;
  /** How long ago this was known to be the newest; undefined when a clock ahead of this one said so. */
  readonly ageMs: number | undefined;
  /** Older than its layer's `ttl`, or from below a layer that did not answer. */
  readonly stale: boolean;
}

export interface ListOptions extends CommonOptions {
  /** Only keys that begin with this text. */
  readonly prefix?: string | undefined;
  /** Only keys after this one; it need not exist. */
  readonly after?: string | undefined;
  /** At most so many. */
  readonly limit?: number | undefined;
}

/** Keys or entries in the byte order of the keys in UTF-8. May be walked once. */
export interface Listing<T> extends AsyncIterable<T> {
  /**
   * The layers that could not be listed: keys may be missing, or shown in an older state. Complete when the walk has
   * ended; empty means that nothing is missing.
   */
  readonly partial: readonly string[];
}

export interface ListedEntry<T> {
  readonly key: string;
  readonly value: T;
  readonly version: Version;
  readonly expires: number | null;
  readonly meta: Meta;
}

export interface WatchOptions {
  readonly prefix?: string | undefined;
  /** Begin with every key there is. Default false: only what changes from now on. */
  readonly initial?: boolean | undefined;
  /** Ends the iteration, without an error. */
  readonly signal?: AbortSignal | undefined;
  /** How often a store that has to be polled is looked at, in milliseconds. Default 1,000. */
  readonly intervalMs?: number | undefined;
  /** Called once everything up to the beginning of the watch is known, and again after each gap. */
  readonly onCurrent?: (() => void) | undefined;
  /** Called when changes were missed: every key is then told again. */
  readonly onGap?: ((reason: string) => void) | undefined;
}

/** The key now has another value, or none. Several changes of one key may be told as one; one may be told twice. */
export interface WatchEvent {
  readonly type: "set" | "delete";
  readonly key: string;
  /** Null when the key was removed without leaving a trace. */
  readonly version: Version | null;
}

export interface UpdateOptions extends AckOptions, LifeOptions {
  /** How often a lost race is tried again. Default 16; then CONFLICT. */
  readonly attemptsMax?: number | undefined;
}

/** How a namespace reads and writes its values. What is left out is taken from what it is a namespace of. */
export interface NamespaceOptions<S extends StandardSchemaV1 = StandardSchemaV1> {
  readonly codec?: Codec | undefined;
  readonly schema?: S | undefined;
}

/** `update` where the values have a known type. */
export type TypedUpdate<In, Out> = (
  key: string,
  fn: (value: Out | undefined) => In | Promise<In>,
  options?: UpdateOptions,
) => Promise<Out>;

/**
 * `update` where they have none: the type comes from the function's parameter, `(n = 0) => n + 1` or
 * `(user?: User) => …`, or from `update<User>(…)`.
 */
export interface UntypedUpdate {
  // A constraint without a call signature gives the parameter no type from outside, so its own default decides it.
  <F extends object>(key: string, fn: F, options?: UpdateOptions): Promise<Updated<F>>;
  <V>(key: string, fn: (value: V | undefined) => V | Promise<V>, options?: UpdateOptions): Promise<V>;
}
export type Updated<F> = F extends (value: never) => infer R ? Awaited<R> : never;

/**
 * What people hold: typed values over a chain of layers. `In` is what may be set, `Out` what is read; they differ only
 * under a schema that transforms.
 *
 * What a read gives is the reader's own: plain objects and arrays are frozen and shared, values with typed arrays,
 * Maps, Sets or Dates in them are copied for each reader. What a write is given is encoded at once and not kept.
 */
export interface Sync<In = unknown, Out = In> {
  /** The value, or undefined. Every value but undefined can be stored, so undefined always means "none". */
  get<V extends Out = Out>(key: string, options?: GetOptions): Promise<V | undefined>;
  /** The value if memory has it fresh, without asking anything else. Undefined says nothing about other layers. */
  peek(key: string): Out | undefined;
  /** The value with its version, expiry, metadata and where it came from. */
  read<V extends Out = Out>(key: string, options?: GetOptions): Promise<Found<V> | undefined>;
  has(key: string, options?: GetOptions): Promise<boolean>;
  /** The keys that have values, in the order asked; one request per layer, however many keys. */
  getMany<V extends Out = Out>(keys: Iterable<string>, options?: GetOptions): Promise<Map<string, V>>;

  /** @throws SyncError CONFLICT when a condition does not hold, INVALID for undefined and for what cannot be stored. */
  set(key: string, value: In, options?: SetOptions): Promise<Written>;
  /**
   * Stores what a source gives, byte by byte as it is, however large: a few pieces of it are in memory at a time, and the
   * source waits while they are written. It is all there before any layer gets any of it, and acknowledged as `set` is.
   * @throws SyncError as `set`; what the source throws, and then nothing is stored; TOO_LARGE for a chain whose source of
   * truth does not take it, OVERLOADED where the journal has no room for it.
   */
  setStream(key: string, source: ByteSource, options?: SetStreamOptions): Promise<Written>;
  /** A value's bytes piece by piece, whatever its size and type, or a part of them; undefined where there is none. */
  getStream(key: string, options?: GetStreamOptions): Promise<FoundStream | undefined>;
  /**
   * Writes many keys, in few requests; not a transaction. Every value is checked and encoded before anything is written.
   * An item's own expiry and metadata replace those of the call.
   * @throws BatchError naming the keys that were not written; the others were, unless it says that none was.
   */
  setMany(
    items: Iterable<readonly [key: string, value: In, life?: LifeOptions]>,
    options?: SetManyOptions,
  ): Promise<Written[]>;
  /** Leaves a tombstone, so that no older copy comes back. Deleting what is not there is not an error. */
  delete(key: string, options?: DeleteOptions): Promise<Written>;
  /**
   * The value, or else what `load` gives, stored. One `load` per key at a time in this process, however many callers.
   * When it fails, all who wait get its error, and nothing is stored; undefined is not stored either. What is loaded
   * counts as written when `load` began: a `set` meanwhile wins.
   */
  getOrSet<V extends In & Out = In & Out>(
    key: string,
    load: () => V | undefined | Promise<V | undefined>,
    options?: SetOptionsOfLoad,
  ): Promise<V | undefined>;
  /**
   * Replaces the value by what `fn` makes of it, as a conditional write at the authority: no other update in between is
   * lost. `fn` gets a copy of its own and may run several times. Expiry and metadata stay unless given.
   * @throws SyncError CONFLICT after `attemptsMax` lost races; INDETERMINATE when the write may or may not have happened.
   */
  readonly update: unknown extends Out ? UntypedUpdate : TypedUpdate<In, Out>;

  list(options?: ListOptions): Listing<string>;
  /** A value above `wholeBytesMax` ends the walk with TOO_LARGE and its key, in its turn: `after` that key it goes on. */
  entries<V extends Out = Out>(options?: ListOptions): Listing<ListedEntry<V>>;
  watch(options?: WatchOptions): AsyncIterable<WatchEvent>;

  /**
   * The keys below a prefix as a Sync of their own: its keys are given and listed without the prefix. A schema (any
   * Standard Schema) checks what is set, and what is read once per decoded entry. The store holds what was given to
   * `set`; what a transforming schema makes of it is what is read.
   */
  namespace<S extends StandardSchemaV1>(
    prefix: string,
    options: NamespaceOptions<S> & { readonly schema: S },
  ): Sync<StandardSchemaV1.InferInput<S>, StandardSchemaV1.InferOutput<S>>;
  namespace<T = unknown>(prefix: string, options?: NamespaceOptions & { readonly schema?: undefined }): Sync<T, T>;

  /**
   * Resolves when everything written before it is in every layer.
   * @throws SyncError UNAVAILABLE naming the layers that fail or are paused, and the entries that were refused for good.
   */
  flush(options?: CommonOptions): Promise<void>;
  status(): ChainStatus;
  /** What each layer holds of a key, asked past all caches. */
  where(key: string, options?: CommonOptions): Promise<readonly WhereAnswer[]>;
  /**
   * Sends what layers lack, for as long as `drainMs`, and closes every layer; what a journal still keeps is sent at the
   * next start. A namespace and what it is a namespace of close together. Idempotent.
   */
  close(): Promise<void>;
}

export interface SetOptionsOfLoad extends AckOptions, LifeOptions {
  /** Of the read that comes first. */
  readonly freshness?: Freshness | undefined;
}

/** One key of a batch that was not written. */
export interface BatchFailure {
  readonly key: string;
  readonly error: SyncError;
}
