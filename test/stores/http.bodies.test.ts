import { createHash } from "node:crypto";
import { expect, it } from "vitest";
import type { Asked, NodeClient } from "../../src/stores/http/client.ts";
import { remoteBody } from "../../src/stores/http/body.ts";
import { formatVersion } from "../../src/version.ts";
import { all, failure } from "./s3/world.ts";

const version = formatVersion(1.7e12, 0, "00000000000000aa");
const bytes = Uint8Array.from({ length: 10 }, (_, i) => i);
const sum = createHash("sha256").update(bytes).digest("hex");

/** A value of ten bytes, of a node that answers with this. */
function answering(status: number, body: Uint8Array, sha256: string | undefined) {
  const asked: Asked[] = [];
  const client = {
    answer(question: Asked) {
      asked.push(question);
      const pieces = async function* () {
        await Promise.resolve();
        for (const byte of body) yield Uint8Array.of(byte);
      };
      return Promise.resolve({ status, headers: {}, body: pieces() });
    },
    good: (answer: unknown) => Promise.resolve(answer),
  } as unknown as NodeClient;
  const patient = (operation: string) => ({ operation, deadline: Infinity });
  return { asked, body: remoteBody(client, "http", { key: "a b", version, size: 10, sha256 }, patient) };
}

// Mutation: it is not asked for by its version: the bytes could be those of the next one.
it("bytes of a node's value are asked for by their version, and part by part", async () => {
  const { asked, body } = answering(206, bytes.subarray(3, 7), sum);
  expect(Buffer.concat(await all(body.content({ start: 3, end: 7 })))).toEqual(Buffer.from([3, 4, 5, 6]));
  const headers = { range: "bytes=3-6", "if-match": `"${version}"` };
  expect(asked).toMatchObject([{ method: "GET", path: "kv?key=a%20b", headers, repeatable: true }]);
});

// Mutations: length or sum not compared; a version that is gone taken for damage.
it.each([
  ["too few bytes of a part", 206, bytes.subarray(3, 6), { start: 3, end: 7 }, sum, "CORRUPT"],
  ["too many bytes of a part", 206, bytes.subarray(3, 8), { start: 3, end: 7 }, sum, "CORRUPT"],
  ["too few bytes of all", 200, bytes.subarray(1), undefined, undefined, "CORRUPT"],
  ["other bytes", 200, bytes.toReversed(), undefined, sum, "CORRUPT"],
  ["another version", 412, new Uint8Array(0), undefined, sum, "NOT_FOUND"],
  ["nothing", 404, new Uint8Array(0), undefined, sum, "NOT_FOUND"],
] as const)("%s are not the value", async (_, status, given, range, sha256, code) => {
  const { body } = answering(status, given, sha256);
  expect(await failure(() => all(body.content(range)))).toMatchObject({ code, store: "http", key: "a b" });
});

it("what nobody knows the sum of is given as it comes", async () => {
  expect(await all(answering(200, bytes.toReversed(), undefined).body.content())).toHaveLength(10);
});
