import { createHash } from "node:crypto";
import { AwsV4Signer } from "aws4fetch";
import { Agent, request } from "undici";
import { encodeName } from "../../src/stores/s3/endpoint.ts";
import { s3 } from "../../src/stores/s3.ts";
import { systemRuntime as runtime } from "../../src/system.ts";
import { started } from "../../test/servers/apt.ts";
import { radosgw } from "../../test/servers/radosgw.ts";
import { atOnce } from "./harness.ts";
import type { Subject } from "./harness.ts";

const AT_ONCE = 16;
const BUCKET = "bench";

export async function s3Subject(): Promise<Subject> {
  const server = await started(radosgw);
  const store = await s3({ runtime, bucket: BUCKET, endpoint: server.url, credentials: server, create: true });
  const agent = new Agent({ connections: AT_ONCE, pipelining: 1 });
  const signingKeys = new Map<string, ArrayBuffer>();
  const etags = new Map<string, string>();

  const call = async (method: "GET" | "PUT", name: string, version = "", content?: Uint8Array) => {
    const url = `${server.url}/${BUCKET}/bare/${encodeName(name)}`;
    const sum = createHash("sha256")
      .update(content ?? "")
      .digest("hex");
    const headers: Record<string, string> = { "x-amz-content-sha256": sum };
    const etag = etags.get(name);
    // What a compare of versions needs to be stored with the object, and what shows damage.
    const stored = { "content-type": "application/json", "x-amz-meta-version": version, "x-amz-meta-sum": sum };
    if (method === "PUT") Object.assign(headers, stored);
    if (method === "PUT") headers[etag === undefined ? "if-none-match" : "if-match"] = etag ?? "*";
    const { accessKeyId, secretAccessKey } = server;
    const keys = { accessKeyId, secretAccessKey, service: "s3", region: "us-east-1", cache: signingKeys };
    const signer = new AwsV4Signer({ method, url, headers, ...keys });
    headers["authorization"] = await signer.authHeader();
    headers["x-amz-date"] = signer.headers.get("x-amz-date") ?? "";
    const answer = await request(url, { dispatcher: agent, method, headers, body: content ?? null });
    const body = new Uint8Array(await answer.body.arrayBuffer());
    if (answer.statusCode !== 200) throw new Error(`${method} ${name}: ${answer.statusCode}`);
    if (method === "PUT") etags.set(name, String(answer.headers["etag"]).replaceAll('"', ""));
    else if (createHash("sha256").update(body).digest("hex") !== answer.headers["x-amz-meta-sum"]) {
      throw new Error(`${name} is damaged`);
    }
  };
  return {
    store,
    bare: {
      write: (items) =>
        atOnce(items, AT_ONCE, ({ key, version, value }) => call("PUT", key, version, value ?? undefined)),
      read: (names) => atOnce(names, AT_ONCE, (name) => call("GET", name)),
    },
    bareIs: "aws4fetch over undici: the same conditional PUTs and checked GETs, 16 at once",
    versions: `Ceph ${/\d[\d.]*/.exec(await server.admin("--version"))?.[0] ?? ""} with its data in memory, aws4fetch, undici`,
    unit: "requests",
    requests: () => store.requests,
    async close() {
      await Promise.all([store.close(), agent.close()]);
      await server.stop();
    },
  };
}
