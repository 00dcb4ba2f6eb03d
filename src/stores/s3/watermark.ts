import { SyncError } from "../../error.ts";
import { VERSION_ZERO, isVersion } from "../../version.ts";
import type { Version } from "../../version.ts";
import { put } from "./bucket.ts";
import type { Conditions } from "./bucket.ts";
import type { Call } from "./call.ts";
import type { Client } from "./client.ts";
import { unquoted } from "./object.ts";
import { RESERVED } from "./names.ts";

const TRIES_MAX = 100;
const BYTES_MAX = 256;

/** The collection watermark, kept as an object of the bucket: its body is the version. It only ever rises. */
export class Watermark {
  private readonly client: Client;
  private readonly name: string;
  private readonly conditions: Conditions;
  /** What was seen last: the watermark is at least this. */
  known: Version = VERSION_ZERO;
  private etag: string | undefined;

  constructor(client: Client, prefix: string, conditions: Conditions) {
    this.client = client;
    this.name = `${prefix}${RESERVED}watermark`;
    this.conditions = conditions;
  }

  /** Asks the bucket. */
  async look(call: Call): Promise<Version> {
    const reply = await this.client.send(call, {
      method: "GET",
      name: this.name,
      headers: this.etag === undefined ? {} : { "if-none-match": `"${this.etag}"` },
      takes: [200, 304, 404],
      bytesMax: BYTES_MAX,
    });
    if (reply.status === 200) {
      const text = new TextDecoder().decode(reply.body).trim();
      if (!isVersion(text)) {
        const cure = `restore the object ${this.name}`;
        const what = "the collection watermark is no version";
        throw new SyncError("CORRUPT", what, { store: this.client.name, operation: call.operation, cure });
      }
      this.etag = unquoted(reply.headers["etag"] ?? "");
      if (text > this.known) this.known = text;
    }
    return this.known;
  }

  /** Resolves when the bucket's watermark is at least `version`. */
  async raise(call: Call, version: Version): Promise<void> {
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      if ((await this.look(call)) >= version) return;
      const over = this.etag === undefined ? "nothing" : { etag: this.etag };
      const object = { name: this.name, body: new TextEncoder().encode(version) };
      const etag = await put(this.client, call, object, { "content-type": "text/plain" }, over, this.conditions);
      if (etag === undefined) {
        this.etag = undefined; // somebody else raised it, or it was removed
        continue;
      }
      this.etag = etag;
      if (version > this.known) this.known = version;
      return;
    }
    throw new SyncError("OVERLOADED", "the collection watermark is raised by too many at once", {
      store: this.client.name,
      operation: call.operation,
      cure: "let one node collect",
    });
  }
}
