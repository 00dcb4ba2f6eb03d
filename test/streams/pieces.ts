export const MIB = 1024 * 1024;
/** Of a value that no whole number of pieces makes. */
export const SIZE = 2 * MIB + 123;

/** A source of so many bytes, which breaks at one of them. */
export async function* pieces(bytes = SIZE, stopAt = Infinity): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes; at += 100_000) {
    await Promise.resolve();
    if (at >= stopAt) throw new Error("the source broke");
    yield new Uint8Array(Math.min(100_000, bytes - at)).fill((at / 100_000) % 251);
  }
}

export async function gathered(stream: AsyncIterable<Uint8Array> | undefined): Promise<Buffer> {
  const all: Uint8Array[] = [];
  for await (const piece of stream ?? []) all.push(piece);
  return Buffer.concat(all);
}

/** What {@link pieces} gives. */
export const expected = (bytes = SIZE): Promise<Buffer> => gathered(pieces(bytes));
