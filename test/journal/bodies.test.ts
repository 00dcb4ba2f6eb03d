import { describe, expect, it } from "vitest";
import { collected } from "../../src/body.ts";
import { Bodies } from "../../src/journal/bodies.ts";
import type { Files } from "../../src/journal/files.ts";
import { systemRuntime as runtime } from "../../src/system.ts";
import { simulatedFiles } from "../../src/testing/index.ts";
import { failure } from "../stores/s3/world.ts";

const SIZE = 200_000;

async function* pieces(bytes = SIZE): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes; at += 50_000) {
    await Promise.resolve();
    yield new Uint8Array(Math.min(50_000, bytes - at)).fill(at / 50_000);
  }
}
const done = () => Promise.resolve();

describe("a value in a file beside the log", () => {
  // Mutation: readers are not counted: the file would go under the eyes of who reads it.
  it("that nobody needs any more goes when the last one who reads it has ended", async () => {
    const files = simulatedFiles({ seed: 1 });
    const bodies = new Bodies(files, runtime);
    const body = await bodies.take(pieces());
    const [one, other] = [body.content(), body.content()].map((content) => content[Symbol.asyncIterator]());
    await one?.next();
    await other?.next();
    bodies.drop(body);
    await bodies.tidyAfter(done);
    await one?.return?.();
    await bodies.tidyAfter(done);
    expect(await files.list()).toHaveLength(1);
    let bytes = 64 * 1024;
    for (let next = await other?.next(); next?.done === false; next = await other?.next()) bytes += next.value.length;
    expect(bytes).toBe(SIZE);
    expect([await files.list(), bodies.bytes]).toEqual([[], 0]);
    expect((await failure(() => collected(body))).code).toBe("NOT_FOUND");
  });

  // Mutation: the sum left out of `pieces`.
  it("whose bytes have changed on the disk has no end", async () => {
    const files = simulatedFiles({ seed: 1 });
    const damaged: Files = Object.assign(Object.create(files) as Files, {
      async read(name: string, from: number, length: number) {
        const bytes = await files.read(name, from, length);
        if (from === 0) bytes[7] = (bytes[7] ?? 0) ^ 1;
        return bytes;
      },
    });
    const body = await new Bodies(damaged, runtime).take(pieces());
    expect((await failure(() => collected(body))).code).toBe("CORRUPT");
  });
});

// Mutations: either length not looked at in `collected`.
it.each([2, 4])("a body that says 3 bytes and gives %i is not collected", async (given) => {
  const body = {
    size: 3,
    sha256: undefined,
    async *content() {
      await Promise.resolve();
      yield new Uint8Array(given);
    },
  };
  expect((await failure(() => collected(body))).code).toBe("CORRUPT");
});
