/** What `microsync` exports: people's surface, and the vocabulary that stores are written in. */
export { open, openChain, DEFAULT_CHAIN } from "./config/open.ts";
export type { ChainSpec, OpenOptions } from "./config/open.ts";
export { memory, retry, sync } from "./config/doors.ts";
export { journal } from "./config/journal-folder.ts";
export type { JournalFolder } from "./config/journal-folder.ts";
export { schemesWith } from "./config/schemes.ts";
export type { OpenContext, Opened, Scheme, Schemes } from "./config/schemes.ts";
export type { StoreUrl } from "./config/url.ts";
export type { OptionKind, OptionValue } from "./config/values.ts";
export { defineConfig } from "./config/file.ts";
export type { Config } from "./config/file.ts";
export { clockFile } from "./config/clock-file.ts";

export { BatchError } from "./sync.ts";
export type * from "./sync.ts";

export { chain } from "./chain/chain.ts";
export type {
  Chain,
  ChainOptions,
  ChainStatus,
  ChainWriteOptions,
  LayerStatus,
  Report,
  WhereAnswer,
} from "./chain/chain.ts";
export type { Collected, CollectOptions } from "./chain/collect.ts";
export { layer } from "./chain/layer.ts";
export type { Layer, LayerOptions, LayerSpec, Role } from "./chain/layer.ts";
export type { Journal } from "./journal/journal.ts";
export type { JournalOptions, JournalStatus } from "./journal/contract.ts";
export type { Letter, LetterList } from "./journal/letters.ts";
export { GITHUB_LIMITS } from "./budget.ts";
export type { Budget, BudgetOptions, Correction, Cost, Limit, LimitStatus, Spending } from "./budget.ts";
export type { RetryOptions } from "./wrappers/retry.ts";
export type { MemoryOptions, MemoryStats, MemoryStore } from "./stores/memory.ts";

export { cloneValue, defaultCodec, jsonCodec, valueCodec } from "./codec.ts";
export type { Codec, CodecOptions, Decoded, Encoded, JsonCodecOptions } from "./codec.ts";

export { SyncError, asSyncError } from "./error.ts";
export type { ErrorCode, ErrorDetails } from "./error.ts";

export { boundsOf, collected } from "./body.ts";
export type { Body, ByteRange } from "./body.ts";
export {
  KEY_BYTES_MAX,
  META_BYTES_MAX,
  NO_META,
  checkEntry,
  checkKey,
  checkMeta,
  compareEntries,
  compareKeys,
  isDead,
  isExpired,
  merge,
  stubOf,
} from "./entry.ts";
export type { Copy, Entry, EntryState, Head, Meta } from "./entry.ts";
export {
  PartialRead,
  STORED,
  TOO_OLD,
  aborted,
  checkCall,
  checkForget,
  checkRead,
  checkWrite,
  closedError,
  failed,
  refusal,
} from "./store.ts";
export type {
  Answer,
  CallOptions,
  Change,
  Forget,
  Listed,
  Range,
  ReadOptions,
  Store,
  Supports,
  Write,
  WriteResult,
} from "./store.ts";
export type { ListOptions as StoreListOptions, WatchOptions as StoreWatchOptions } from "./store.ts";
export { isSlotStore } from "./slot.ts";
export type { Removal, RemovalReason, Slot, SlotStore } from "./slot.ts";
export { VERSION_ZERO, isVersion, toVersion, versionClock, versionMs } from "./version.ts";
export type { ClockBound, Version, VersionClock, VersionClockOptions } from "./version.ts";
export { systemRuntime } from "./system.ts";
export type { Runtime, Timer } from "./runtime.ts";
