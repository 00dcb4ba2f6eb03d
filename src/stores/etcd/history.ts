import { forCaller } from "../../caller.ts";
import type { Runtime } from "../../runtime.ts";
import { VERSION_ZERO, versionFromBytes, versionToBytes } from "../../version.ts";
import type { Version } from "../../version.ts";
import type { Call, Connection, Reply } from "./connection.ts";
import type { Layout } from "./layout.ts";
import { EQUAL, OF_CREATE, RANGE, TXN } from "./messages.ts";
import type { Header, KeyValue, Method } from "./messages.ts";

/*
 * Whether etcd's revisions still mean what they meant. Each opened store that writes names itself, at random, under
 * `epoch` before its first change; a cursor holds the name and the revision at which it was given. A cluster that was
 * wiped, or set back to a backup, gives the same revisions again but under another name.
 */

/** A name and since when it holds; `0` at 0 where nobody ever wrote. */
export interface Epoch {
  readonly name: string;
  readonly since: number;
}

export interface Watermark {
  readonly version: Version;
  readonly revision: number;
}

const NAME_BYTES = 8;

export class History {
  /** Undefined: not looked at yet, or not there. */
  watermark: Watermark | undefined = undefined;
  private readonly connection: Connection;
  private readonly layout: Layout;
  private readonly runtime: Runtime;
  private readonly store: string;
  private readonly name: string;
  private named = false;
  private naming: Promise<void> | undefined = undefined;
  private revision = 0;
  private cluster: bigint | undefined = undefined;
  /** Told when the cluster turns out to have gone back, or to be another one. */
  private readonly listeners = new Set<() => void>();

  constructor(connection: Connection, layout: Layout, runtime: Runtime, store: string) {
    this.connection = connection;
    this.store = store;
    this.layout = layout;
    this.runtime = runtime;
    const random = runtime.random(new Uint8Array(NAME_BYTES));
    this.name = Buffer.from(random).toString("hex");
  }

  /** A linearizable call. A revision below one that was seen before it began shows that etcd went back. */
  async ask<Q, A extends { readonly header: Header | undefined }>(
    method: Method<Q, A>,
    request: Q,
    call: Call,
  ): Promise<Reply<A>> {
    const before = this.revision;
    const reply = await this.connection.call(method, request, call);
    const { header } = reply.answer;
    if (header === undefined) return reply;
    const other = this.cluster !== undefined && this.cluster !== header.clusterId;
    if (header.revision < before || other) {
      this.named = false;
      this.watermark = undefined;
      this.revision = header.revision;
      for (const tell of this.listeners) tell();
    }
    this.cluster = header.clusterId;
    if (header.revision > this.revision) this.revision = header.revision;
    return reply;
  }

  onGoneBack(tell: () => void): () => void {
    this.listeners.add(tell);
    return () => this.listeners.delete(tell);
  }

  /** Before the first change: this store's name is under `epoch`, and there is a watermark. */
  async beNamed(call: Call): Promise<void> {
    if (this.named) return;
    this.naming ??= this.writeName(this.connection.ownCall("write")).finally(() => {
      this.naming = undefined;
    });
    await forCaller(this.naming, call, this.runtime, this.store, call.operation);
  }

  /** The watermark is missing although there was one: the cluster was wiped. */
  forgetName(): void {
    this.named = false;
    this.watermark = undefined;
  }

  private async writeName(call: Call): Promise<void> {
    const { epoch, watermark } = this.layout;
    const name = { put: { key: epoch, value: Buffer.from(this.name) } };
    const zero = { put: { key: watermark, value: versionToBytes(VERSION_ZERO) } };
    const compare = [{ result: EQUAL, target: OF_CREATE, key: watermark, createRevision: 0 }];
    await this.ask(TXN, { compare, success: [zero, name], failure: [name] }, call);
    this.named = true;
  }

  noteWatermark(kv: KeyValue): void {
    this.watermark = { version: versionFromBytes(kv.value), revision: kv.modRevision };
  }

  /** The epoch at a revision, 0 for now. @throws EtcdError of reason "gone" for a revision that is not there. */
  async epochAt(revision: number, call: Call): Promise<{ epoch: Epoch; cluster: string; revision: number }> {
    const { answer } = await this.ask(RANGE, { key: this.layout.epoch, revision }, call);
    const cluster = (answer.header?.clusterId ?? 0n).toString(16);
    return { epoch: epochOf(answer.kvs[0]), cluster, revision: answer.header?.revision ?? 0 };
  }
}

export function epochOf(kv: KeyValue | undefined): Epoch {
  if (kv === undefined) return { name: "0", since: 0 };
  const name = Buffer.from(kv.value).toString("latin1");
  // Anything else than a name of ours would not pass through a cursor.
  return { name: /^[0-9a-f]{1,32}$/.test(name) ? name : "1", since: kv.modRevision };
}

/** The epoch part of a cursor. */
export function epochText(cluster: string, { name, since }: Epoch): string {
  return `${cluster}x${name}x${since}`;
}

export function epochFrom(text: string): { cluster: string; epoch: Epoch } | undefined {
  const [, cluster, name, since] = /^([0-9a-f]+)x([0-9a-f]+)x(0|[1-9][0-9]{0,15})$/.exec(text) ?? [];
  if (cluster === undefined || name === undefined) return undefined;
  return { cluster, epoch: { name, since: Number(since) } };
}
