/**
 * The folder of a journal, as the core sees it. Small, so that a simulated one can fail at every operation
 * (`simulatedFiles` of microsync/testing); the real one is node-files.ts.
 *
 * Duties of whoever implements it: names are plain file names, the folder appears when the first of them is created, and
 * every failure is a thrown SyncError, UNAVAILABLE unless said otherwise.
 */
export interface Files {
  /** For messages. */
  readonly name: string;
  /** The names of the files in the folder, in any order; none where the folder does not exist. */
  list(): Promise<readonly string[]>;
  size(name: string): Promise<number>;
  /**
   * Fewer bytes at the end of the file. In a buffer of its own, which the caller may keep.
   * @param into Where they may be put instead, which has so much room: for who reads much, since fresh memory is dear.
   */
  read(name: string, from: number, length: number, into?: Uint8Array): Promise<Uint8Array>;
  /** Refuses an existing one. */
  create(name: string): Promise<OpenFile>;
  /** An existing one, for appending and truncating. */
  open(name: string): Promise<OpenFile>;
  /** Replaces `to` atomically. */
  rename(from: string, to: string): Promise<void>;
  remove(name: string): Promise<void>;
  /** Once it resolves, the creations, renames and removals before it survive a power loss. */
  syncFolder(): Promise<void>;
  /**
   * Makes this process the owner of the folder. A folder has one owner at a time; who dies without a release is
   * recognised as dead.
   * @throws SyncError UNAVAILABLE naming the process (and the host) that owns it. Of two that claim at the same moment
   * one or both are refused.
   */
  claim(): Promise<Claim>;
  /** A new checksum. Here because the platform that has files has a fast one. */
  sha256(): Sha256;
  /**
   * CRC-32 as gzip has it (RFC 1952, section 8), from 0 to 2^32 - 1; here for the same reason.
   * @param before that of the bytes that stand before these. Default: none do.
   */
  readonly crc32: (bytes: Uint8Array, before?: number) => number;
}

/** SHA-256 of bytes that come piece by piece. */
export interface Sha256 {
  update(bytes: Uint8Array): void;
  /** 64 hexadecimal digits; no update after it. */
  digest(): string;
}

export interface OpenFile {
  /** The whole, or it throws; then a part of it may be there. */
  append(bytes: Uint8Array): Promise<void>;
  /** Once it resolves, the file's bytes survive a power loss. After a failure nothing is known of what was not yet synced. */
  sync(): Promise<void>;
  /**
   * The first, then the other, in one call of the system where it has one: from the write to the answer of the disk
   * this thread is not needed. After a failure nothing is known of the bytes, as after one of `sync`.
   */
  appendSynced(bytes: Uint8Array): Promise<void>;
  truncate(length: number): Promise<void>;
  close(): Promise<void>;
}

export interface Claim {
  /** Idempotent. */
  release(): Promise<void>;
}
