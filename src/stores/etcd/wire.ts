/**
 * Protocol buffers, as far as etcd's messages need them: a message is a table of field numbers and kinds. Source: the
 * encoding page of the protocol buffers documentation.
 */

/** How one field is written. */
export interface Kind<T> {
  /** What an absent field reads as. */
  readonly none: T;
  readonly wireType: 0 | 2;
  readonly write: (out: Output, value: T) => void;
  readonly read: (input: Input) => T;
  /** Many of them under one number: `write` and `read` are then of one alone. */
  readonly repeated?: true;
}

type Fields<T> = {
  readonly [K in keyof T]-?: readonly [number: number, kind: Kind<T[K]> | Kind<Exclude<T[K], undefined>>];
};

export interface Message<T> {
  /** Fields that are left out read as their `none`. */
  readonly encode: (value: T) => Buffer;
  /** Fields of unknown numbers are skipped. @throws RangeError for bytes that are no message. */
  readonly decode: (bytes: Uint8Array) => T;
  /** The message as a field of another one. */
  readonly field: Kind<T | undefined>;
}

/** Written from the end to the beginning, so that the length of a part is known when it is due. */
class Output {
  private bytes = Buffer.allocUnsafe(512);
  private at = 512;

  get length(): number {
    return this.bytes.length - this.at;
  }

  take(): Buffer {
    return this.bytes.subarray(this.at);
  }

  varint(value: number): void {
    let size = 1;
    for (let rest = value; rest >= 128; rest = Math.floor(rest / 128)) size++;
    const from = this.room(size);
    let rest = value;
    for (let i = 0; i < size; i++) {
      this.bytes[from + i] = (rest % 128) | (i < size - 1 ? 128 : 0);
      rest = Math.floor(rest / 128);
    }
  }

  bigVarint(value: bigint): void {
    const digits: number[] = [];
    let rest = BigInt.asUintN(64, value);
    do {
      digits.push(Number(rest & 127n));
      rest >>= 7n;
    } while (rest > 0n);
    const from = this.room(digits.length);
    for (const [i, digit] of digits.entries()) this.bytes[from + i] = digit | (i < digits.length - 1 ? 128 : 0);
  }

  raw(value: Uint8Array): void {
    const from = this.room(value.length); // which may put other bytes in the place of these
    this.bytes.set(value, from);
  }

  private room(size: number): number {
    if (size > this.at) {
      const grown = Buffer.allocUnsafe(Math.max(this.bytes.length * 2, this.length + size + 256));
      grown.set(this.take(), grown.length - this.length);
      this.at = grown.length - this.length;
      this.bytes = grown;
    }
    this.at -= size;
    return this.at;
  }
}

class Input {
  readonly bytes: Uint8Array;
  at: number;
  end: number;

  constructor(bytes: Uint8Array, at = 0, end = bytes.length) {
    this.bytes = bytes;
    this.at = at;
    this.end = end;
  }

  /** A varint of up to 64 bits as two halves of 32, unsigned. */
  private halves(): [low: number, high: number] {
    let low = 0;
    let high = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      if (this.at >= this.end) throw new RangeError("a message ends within a number");
      const byte = this.bytes[this.at++] ?? 0;
      const part = byte & 127;
      if (shift < 28) low |= part << shift;
      else if (shift === 28) {
        low |= part << 28;
        high |= part >> 4;
      } else if (shift < 64) high |= part << (shift - 32);
      if (byte < 128) return [low >>> 0, high >>> 0];
    }
    throw new RangeError("a number has more than 64 bits");
  }

  /** Signed; exact up to 2^53, which revisions and sizes stay below. */
  int(): number {
    // Nearly every number is a tag or a length, of one to four bytes.
    let at = this.at;
    let short = 0;
    for (let shift = 0; shift < 28 && at < this.end; shift += 7) {
      const byte = this.bytes[at++] ?? 0;
      short |= (byte & 127) << shift;
      if (byte < 128) {
        this.at = at;
        return short;
      }
    }
    const [low, high] = this.halves();
    return (high | 0) * 2 ** 32 + low;
  }

  unsigned(): bigint {
    const [low, high] = this.halves();
    return (BigInt(high) << 32n) | BigInt(low);
  }

  /** Reads a length, and narrows this input to what follows it. @returns the end to set back with `leave`. */
  enter(): number {
    const length = this.int();
    const outer = this.end;
    if (length < 0 || this.at + length > outer) throw new RangeError("a message ends within a field");
    this.end = this.at + length;
    return outer;
  }

  leave(outer: number): void {
    this.at = this.end;
    this.end = outer;
  }

  skip(wireType: number): void {
    if (wireType === 0) this.halves();
    else if (wireType === 2) this.slice();
    else if (wireType === 1) this.at += 8;
    else if (wireType === 5) this.at += 4;
    else throw new RangeError(`a field has the unknown wire type ${wireType}`);
  }

  /** The bytes of a field, as a view. */
  slice(): Uint8Array {
    const outer = this.enter();
    const view = this.bytes.subarray(this.at, this.end);
    this.leave(outer);
    return view;
  }
}

const NO_BYTES = new Uint8Array(0);
const text = new TextDecoder();

export const int: Kind<number> = {
  none: 0,
  wireType: 0,
  write: (out, value) => (value < 0 ? out.bigVarint(BigInt(value)) : out.varint(value)),
  read: (input) => input.int(),
};

/** Names that use all 64 bits: of clusters, members and leases. */
export const id: Kind<bigint> = {
  none: 0n,
  wireType: 0,
  write: (out, value) => out.bigVarint(value),
  read: (input) => input.unsigned(),
};

export const flag: Kind<boolean> = {
  none: false,
  wireType: 0,
  write: (out, value) => out.varint(value ? 1 : 0),
  read: (input) => input.int() !== 0,
};

/** What is read is a view of the message. */
export const bytes: Kind<Uint8Array> = {
  none: NO_BYTES,
  wireType: 2,
  write(out, value) {
    out.raw(value);
    out.varint(value.length);
  },
  read: (input) => input.slice(),
};

export const string: Kind<string> = {
  none: "",
  wireType: 2,
  write: (out, value) => bytes.write(out, Buffer.from(value)),
  read: (input) => text.decode(input.slice()),
};

/** Of messages only: packed numbers are not among what etcd is asked. */
export function many<T>(kind: Kind<T | undefined>): Kind<readonly T[]> {
  return { ...(kind as unknown as Kind<readonly T[]>), none: [], repeated: true };
}

/** A message within itself, as a transaction may be: its table is not there yet when it is named. */
export function later<T>(message: () => Message<T>): Kind<T | undefined> {
  return {
    none: undefined,
    wireType: 2,
    write: (out, value) => message().field.write(out, value),
    read: (input) => message().field.read(input),
  };
}

type AnyKind = Kind<unknown>;

export function message<T extends object>(fields: Fields<T>): Message<T> {
  const named = Object.entries(fields) as unknown as [string, readonly [number, AnyKind]][];
  const backwards = named.toReversed();
  const byNumber: (readonly [string, AnyKind] | undefined)[] = [];
  for (const [name, [number, kind]] of named) byNumber[number] = [name, kind];
  const empty = Object.fromEntries(named.map(([name, [, kind]]) => [name, kind.none]));

  const write = (out: Output, value: T) => {
    const given = value as Readonly<Record<string, unknown>>;
    for (const [name, [number, kind]] of backwards) {
      const part = given[name];
      if (part === undefined || part === kind.none) continue;
      const tag = number * 8 + kind.wireType;
      const parts = kind.repeated === true ? (part as readonly unknown[]) : undefined;
      for (let i = (parts?.length ?? 1) - 1; i >= 0; i--) {
        kind.write(out, parts === undefined ? part : parts[i]);
        out.varint(tag);
      }
    }
  };

  const read = (input: Input): T => {
    const value: Record<string, unknown> = { ...empty };
    while (input.at < input.end) {
      const tag = input.int();
      const known = byNumber[Math.floor(tag / 8)];
      if (known === undefined || known[1].wireType !== tag % 8) {
        input.skip(tag % 8);
        continue;
      }
      const [name, kind] = known;
      if (kind.repeated !== true) {
        value[name] = kind.read(input);
        continue;
      }
      const before = value[name];
      if (before === kind.none) value[name] = [kind.read(input)];
      else (before as unknown[]).push(kind.read(input));
    }
    return value as T;
  };

  return {
    encode(value) {
      const out = new Output();
      write(out, value);
      return out.take();
    },
    decode: (bytes) => read(new Input(bytes)),
    field: {
      none: undefined,
      wireType: 2,
      write(out, value) {
        const before = out.length;
        if (value !== undefined) write(out, value);
        out.varint(out.length - before);
      },
      read(input) {
        const outer = input.enter();
        const value = read(input);
        input.leave(outer);
        return value;
      },
    },
  };
}
