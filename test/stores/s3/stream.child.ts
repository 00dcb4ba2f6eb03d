import { createHash } from "node:crypto";
import { callOf } from "../../../src/stores/s3/call.ts";
import { connect } from "../../../src/stores/s3/connect.ts";
import { putStream } from "../../../src/stores/s3/multipart.ts";
import { getStream } from "../../../src/stores/s3/ranges.ts";
import { systemRuntime as runtime } from "../../../src/system.ts";

/** Sends so many bytes up and down again as streams. Prints by how much the process grew meanwhile, and both hashes. */
const [endpoint = "", bucket = "", megabytes = "0"] = process.argv.slice(2);
const MIB = 1024 * 1024;

const credentials = { accessKeyId: "AKSYNC", secretAccessKey: "SKSYNC" };
const { client } = await connect({ runtime, endpoint, bucket, credentials });
const call = callOf(runtime, "s3", "stream");
const sent = createHash("sha256");

async function* body(): AsyncGenerator<Uint8Array> {
  const chunk = new Uint8Array(64 * 1024);
  for (let i = 0; i < Number(megabytes) * 16; i++) {
    await Promise.resolve();
    chunk.fill(i % 251);
    sent.update(chunk);
    yield chunk;
  }
}

async function warmUp(): Promise<void> {
  const headers = { "content-type": "text/plain" };
  const target = { name: "warm", headers, over: undefined, conditions: "none", partBytes: 8 * MIB } as const;
  await putStream(client, call, target, [new Uint8Array(MIB)].values() as unknown as AsyncIterable<Uint8Array>);
  for await (const chunk of getStream(client, call, { name: "warm" })) void chunk;
}

await warmUp();
const before = process.memoryUsage().rss;
let most = before;
const measure = setInterval(() => {
  most = Math.max(most, process.memoryUsage().rss);
}, 5);
const target = { name: "big", headers: {}, over: "nothing", conditions: "unquoted", partBytes: 5 * MIB } as const;
const stored = await putStream(client, call, target, body());
const up = most - before;
const got = createHash("sha256");
let bytes = 0;
for await (const chunk of getStream(client, call, { name: "big" })) {
  got.update(chunk);
  bytes += chunk.length;
}
clearInterval(measure);
const hashes = [sent.digest("hex"), got.digest("hex")];
await client.close();
console.log(JSON.stringify({ up, most: most - before, bytes, parts: stored?.parts, hashes }));
