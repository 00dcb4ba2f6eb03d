import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Stop, transport } from "../../src/stores/wire/transport.ts";

const LARGE = 600_000;
const bytes = (length: number) => Buffer.from(Array.from({ length }, (_, i) => i % 251));

let answer: (response: ServerResponse, request: IncomingMessage) => void = (response) => response.end();
const server = createServer((request, response) => answer(response, request));
const over = transport({ connections: 2 });
let url = "";

beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
});
afterAll(async () => {
  await over.close();
  server.close();
});

const get = (signal = new Stop()) => over.send({ method: "GET", url, headers: {}, signal });

async function whole(bytesMax: number) {
  return (await get()).whole(bytesMax);
}

describe("the whole of an answer", () => {
  it.each([0, 1, 70_000, LARGE])(
    "of %i bytes is what was sent, with its length announced and without",
    async (length) => {
      const sent = bytes(length);
      for (const headers of [{ "content-length": length }, {}]) {
        answer = (response) => response.writeHead(200, headers).end(sent);
        const got = await whole(LARGE);
        expect(got?.constructor).toBe(Uint8Array);
        expect(Buffer.compare(got ?? Buffer.alloc(1), sent)).toBe(0);
        expect(got?.buffer.byteLength, "it keeps nothing larger alive").toBe(length);
      }
    },
  );

  it.each([1_000, LARGE])("is refused when it has more than it may, %i bytes", async (length) => {
    for (const headers of [{ "content-length": length }, {}]) {
      answer = (response) => response.writeHead(200, headers).end(bytes(length));
      expect(await whole(length - 1)).toBeUndefined();
    }
  });

  it.each([1_000, LARGE])("fails when its connection ends before, of %i bytes", async (length) => {
    answer = (response) => {
      response.writeHead(200, { "content-length": length });
      response.write(bytes(length - 1), () => response.destroy());
    };
    await expect(whole(LARGE)).rejects.toThrow();
  });

  it.each([1_000, LARGE])("ends with its request, of %i bytes", async (length) => {
    answer = (response) => {
      response.writeHead(200, { "content-length": length });
      response.write("1");
    };
    const stop = new Stop();
    const answering = await get(stop);
    const outcome = expect(answering.whole(LARGE)).rejects.toThrow();
    stop.now();
    await outcome;
  });
});
