import { SyncError } from "../error.ts";
import type { Body } from "../body.ts";
import type { Entry, Head } from "../entry.ts";
import type { Bodies } from "./bodies.ts";
import type { Files } from "./files.ts";
import { letterBody, writeLetter } from "./letters.ts";
import type { Letter } from "./letters.ts";

/** A dead letter, as a reader of this node sees it: still the newest that it has of its key. */
export interface DeadLetter {
  readonly head: Head;
  knownAt: number;
  readonly entry: undefined;
  readonly body: Body | undefined;
  readonly letter: Letter;
}

/** What could not be delivered, in memory; the files are the truth. */
export class Letterbox {
  private readonly files: Files;
  private readonly bodies: Bodies;
  private readonly byId = new Map<string, Letter>();
  private readonly dead = new Map<string, DeadLetter>();
  /** Of the values in it. */
  bytes = 0;

  constructor(files: Files, letters: readonly Letter[], bodies: Bodies) {
    this.files = files;
    this.bodies = bodies;
    for (const letter of letters) this.keep(letter);
  }

  get size(): number {
    return this.byId.size;
  }

  get letters(): readonly Letter[] {
    return [...this.byId.values()].sort((a, b) => a.seq - b.seq);
  }

  get counts() {
    const conflicts = this.letters.filter(({ list }) => list === "conflict").length;
    return { deadLetters: this.size - conflicts, conflicts };
  }

  /** The newest dead letter of a key. What a layer found too old answers no reader. */
  newest(key: string): DeadLetter | undefined {
    return this.dead.get(key);
  }

  keys(): IterableIterator<string> {
    return this.dead.keys();
  }

  has(id: string): boolean {
    return this.byId.has(id);
  }

  /** @throws SyncError NOT_FOUND. */
  get(id: string): Letter {
    const letter = this.byId.get(id);
    if (letter !== undefined) return letter;
    const cure = "microsync journal ls names them";
    throw new SyncError("NOT_FOUND", `there is no letter ${JSON.stringify(id.slice(0, 100))}`, { cure });
  }

  /** @throws SyncError when it cannot be read. One whose file turns out to be gone is none any more. */
  async body(letter: Letter): Promise<Entry> {
    try {
      return await letterBody(this.files, letter);
    } catch (error) {
      if (this.has(letter.id) && !(await this.isThere(letter.id))) this.takeOut(letter);
      throw error;
    }
  }

  /** Resolves when the letter survives a power loss. */
  async add(letter: Letter, entry: Entry): Promise<void> {
    await writeLetter(this.files, letter, entry);
    this.keep(letter);
  }

  /**
   * Resolves when the removal survives a power loss.
   * @throws SyncError when the letter is still there; or when it is gone, as {@link has} tells, but may come back that way.
   */
  async drop(id: string): Promise<void> {
    const letter = this.get(id);
    this.takeOut(letter); // at once, so that nobody drops it a second time meanwhile
    try {
      await this.files.remove(id);
    } catch (error) {
      // What failed may have taken effect all the same.
      if (await this.isThere(id)) {
        this.index(letter);
        throw error;
      }
    }
    // Should the letter come back, its body has to be there: what is not known to be gone keeps it until the next start.
    await this.files.syncFolder();
    if (letter.body !== undefined) this.bodies.drop(letter.body);
  }

  private takeOut({ id, head, valueBytes }: Letter): void {
    if (!this.byId.delete(id)) return;
    this.bytes -= valueBytes;
    if (this.dead.get(head.key)?.letter.id === id) this.dead.delete(head.key);
  }

  private async isThere(id: string): Promise<boolean> {
    const names = await this.files.list().catch(() => [id]);
    return names.includes(id);
  }

  /** The dead letters that a newer write of their key ends. What is in conflict stays until somebody decides. */
  endedBy({ key, version }: Head): readonly Letter[] {
    if (this.byId.size === 0) return [];
    return this.letters.filter(({ list, head }) => list === "dead" && head.key === key && head.version < version);
  }

  private keep(letter: Letter): void {
    if (letter.body !== undefined) this.bodies.hold(letter.body);
    this.index(letter);
  }

  private index(letter: Letter): void {
    const { id, head, asOf, list, valueBytes } = letter;
    this.byId.set(id, letter);
    this.bytes += valueBytes;
    const before = this.dead.get(head.key);
    if (list !== "dead" || (before !== undefined && before.head.version > head.version)) return;
    const body = letter.body && this.bodies.open(letter.body);
    this.dead.set(head.key, { head, knownAt: asOf, entry: undefined, body, letter });
  }
}
