import { SyncError } from "../error.ts";
import type { Claim, Files, OpenFile, Sha256 } from "../journal/files.ts";
import { crc32 } from "./crc32.ts";
import { sha256 } from "./sha256.ts";
import type { Runtime } from "../runtime.ts";
import { sleep } from "../runtime.ts";
import { SimulatedDisk } from "./disk.ts";
import { random } from "./random.ts";
import type { Random } from "./random.ts";

/** A folder in memory that loses power, fails and fills up where a test wants it to. */
export interface SimulatedFiles extends Files {
  readonly seed: number;
  /** How many operations were begun: every call of `Files`, and of the files it opens. */
  readonly operations: number;
  /** The power is gone, or the process; every operation is refused. */
  readonly ended: boolean;
  /** Of all files together. An append beyond it writes what has room, and fails. May be changed at any time. */
  capacityBytes: number;
  /** "sync" or "syncFolder" resolves without doing anything, as a disk with a volatile cache does. */
  lying: "sync" | "syncFolder" | undefined;
  /** The power fails in the middle of the n-th operation, counted from 1 for the first of this view. */
  crashAt(operation: number): void;
  /**
   * The n-th operation fails, after a part of it took effect: an append writes some bytes, a sync gets some pages to the
   * disk and loses the others for good (no later sync brings them), others happen or not. Default error: EIO.
   */
  failAt(operation: number, error?: Error): void;
  /** The power fails now. @returns the folder as the next start finds it. */
  powerLoss(): SimulatedFiles;
  /**
   * The process ends now, the machine goes on: what was written is there, synced or not. Operations are counted on, and
   * what was set to go wrong at one of them still does.
   */
  kill(): SimulatedFiles;
}

export interface SimulatedFilesOptions {
  readonly seed: number;
  /** With `delayMsMax`: operations take random times on this clock. Without, none. */
  readonly runtime?: Runtime | undefined;
  readonly delayMsMax?: number | undefined;
  readonly capacityBytes?: number | undefined;
}

/**
 * What a disk may do between two syncs, as bad as the rules of file systems allow: after a power loss, pages of 512
 * bytes that were not synced are there or not, the later without the earlier, or hold something else; a file ends
 * anywhere between its synced and its last length; creations, renames and removals that were not synced happened or
 * not, each for itself. What was synced is there. The same seed and the same calls give the same disk.
 */
export function simulatedFiles(options: SimulatedFilesOptions): SimulatedFiles {
  const chance = random(options.seed);
  return new View(options, new SimulatedDisk(chance, options.capacityBytes ?? Infinity), chance);
}

class View implements SimulatedFiles {
  readonly name = "simulated";
  readonly seed: number;
  operations = 0;
  ended = false;
  private readonly options: SimulatedFilesOptions;
  private readonly disk: SimulatedDisk;
  private readonly chance: Random;
  private readonly failures = new Map<number, Error>();
  private crashing = Infinity;
  private claimed = false;

  constructor(options: SimulatedFilesOptions, disk: SimulatedDisk, chance: Random) {
    this.options = options;
    this.seed = options.seed;
    this.disk = disk;
    this.chance = chance;
  }

  get capacityBytes(): number {
    return this.disk.capacityBytes;
  }

  set capacityBytes(bytes: number) {
    this.disk.capacityBytes = bytes;
  }

  get lying(): "sync" | "syncFolder" | undefined {
    return this.disk.lying;
  }

  set lying(what: "sync" | "syncFolder" | undefined) {
    this.disk.lying = what;
  }

  crashAt(operation: number): void {
    this.crashing = operation;
  }

  failAt(operation: number, error: Error = ioError("EIO")): void {
    this.failures.set(operation, error);
  }

  powerLoss(): SimulatedFiles {
    if (!this.ended) this.disk.powerLoss();
    this.ended = true;
    return new View(this.options, this.disk, this.chance);
  }

  kill(): SimulatedFiles {
    this.ended = true;
    const next = new View(this.options, this.disk, this.chance);
    next.operations = this.operations;
    next.crashing = this.crashing;
    for (const [operation, error] of this.failures) next.failAt(operation, error);
    return next;
  }

  readonly crc32 = crc32;

  sha256(): Sha256 {
    return sha256();
  }

  list(): Promise<readonly string[]> {
    return this.step(() => this.disk.names());
  }

  size(name: string): Promise<number> {
    return this.step(() => this.disk.file(name).bytes.length);
  }

  read(name: string, from: number, length: number, into?: Uint8Array): Promise<Uint8Array> {
    return this.step(() => {
      const bytes = this.disk.file(name).bytes.slice(from, from + length);
      if (into === undefined) return bytes;
      into.set(bytes);
      return into.subarray(0, bytes.length);
    });
  }

  create(name: string): Promise<OpenFile> {
    return this.change(() => {
      const node = this.disk.create(name);
      return this.opened(node);
    });
  }

  open(name: string): Promise<OpenFile> {
    return this.step(() => this.opened(this.disk.file(name)));
  }

  rename(from: string, to: string): Promise<void> {
    return this.change(() => this.disk.rename(from, to));
  }

  remove(name: string): Promise<void> {
    return this.change(() => this.disk.remove(name));
  }

  syncFolder(): Promise<void> {
    return this.change(() => this.disk.syncFolder());
  }

  claim(): Promise<Claim> {
    return this.step(() => {
      if (this.claimed) throw new SyncError("UNAVAILABLE", "this process has the folder already", { store: this.name });
      this.claimed = true;
      return {
        release: () => {
          this.claimed = false;
          return Promise.resolve();
        },
      };
    });
  }

  private opened(node: ReturnType<SimulatedDisk["file"]>): OpenFile {
    const { disk } = this;
    let closed = false;
    const live = <T>(work: () => T) => {
      if (closed) throw new SyncError("INTERNAL", "the file was closed", { store: this.name });
      return work();
    };
    const append = (bytes: Uint8Array) => {
      const copy = bytes.slice(); // what the caller does to them afterwards is not written
      const part = () => disk.append(node, copy.subarray(0, this.chance.below(copy.length + 1)));
      return this.step(() => live(() => disk.append(node, copy)), part);
    };
    const sync = () =>
      this.step(
        () => live(() => disk.sync(node)),
        () => disk.failSync(node),
      );
    return {
      append,
      sync,
      appendSynced: (bytes) => append(bytes).then(sync),
      truncate: (length) => this.change(() => live(() => disk.truncate(node, length))),
      close: () =>
        this.step(() =>
          live(() => {
            closed = true;
          }),
        ),
    };
  }

  /** An operation that, when it fails, happened or not. */
  private change<T>(work: () => T): Promise<T> {
    return this.step(work, () => {
      if (this.chance.chance(0.5)) work();
    });
  }

  /** @param partly what may have happened when the operation fails. */
  private async step<T>(work: () => T, partly: () => void = () => undefined): Promise<T> {
    if (this.ended) throw gone();
    const operation = ++this.operations;
    const { runtime, delayMsMax = 0 } = this.options;
    if (runtime !== undefined && delayMsMax > 0) await sleep(runtime, this.chance.below(delayMsMax + 1));
    if (this.ended) throw gone();
    if (operation === this.crashing) {
      attempt(partly);
      this.disk.powerLoss();
      this.ended = true;
      throw gone();
    }
    const failure = this.failures.get(operation);
    if (failure === undefined) return work();
    attempt(partly);
    throw failure;
  }
}

/** What cannot be done at all is not done partly either. */
function attempt(work: () => void): void {
  try {
    work();
  } catch {
    return;
  }
}

/** An error of the operating system, as the real files report it. */
export function ioError(code: "EIO" | "ENOSPC"): SyncError {
  const cause = Object.assign(new Error(code), { code });
  return new SyncError("UNAVAILABLE", `the disk says ${code}`, { store: "simulated", cure: "see to the disk", cause });
}

function gone(): Error {
  return new Error("the machine that asked is gone");
}
