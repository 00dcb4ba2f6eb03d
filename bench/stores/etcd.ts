import { decodeEnvelope, encodeEnvelope } from "../../src/envelope.ts";
import type { Entry } from "../../src/entry.ts";
import { etcd } from "../../src/stores/etcd.ts";
import { systemRuntime as runtime } from "../../src/system.ts";
import { versionToBytes } from "../../src/version.ts";
import { startEtcd } from "../../test/servers/etcd.ts";
import { bareEtcd } from "./etcd-bare.ts";
import { atOnce, slices } from "./harness.ts";
import type { Subject } from "./harness.ts";

const IN_TXN = 126;
const TXNS_AT_ONCE = 4;
/** Transactions, as the server counts them. */
const HANDLED =
  'grpc_server_handled_total{grpc_code="OK",grpc_method="Txn",grpc_service="etcdserverpb.KV",grpc_type="unary"}';

export async function etcdSubject(): Promise<Subject> {
  const cluster = await startEtcd();
  const store = await etcd(`etcd://${cluster.endpoints}/bench`, { runtime, env: {} });
  const bare = bareEtcd(cluster.endpoints);
  const utf8 = new TextEncoder();
  const place = (key: string) => utf8.encode(`bare/k/${key}`);
  const watermark = utf8.encode("bare/watermark");
  await bare.txn({ success: [{ request_put: { key: watermark, value: new Uint8Array(16) } }] });

  /** If the value there is greater than the stem of this version, show it, else put this one. */
  const put = (entry: Entry): object => {
    const key = place(entry.key);
    const stem = Buffer.concat([Buffer.from("f5535901", "hex"), versionToBytes(entry.version)]);
    return {
      request_txn: {
        compare: [{ result: 1, target: 3, key, value: stem }],
        success: [{ request_range: { key } }],
        failure: [{ request_put: { key, value: encodeEnvelope(entry) } }],
      },
    };
  };
  const writeSome = async (items: readonly Entry[]) => {
    const compare = [{ result: 2, target: 3, key: watermark, value: versionToBytes(items[0]?.version as never) }];
    const quota = { request_put: { key: utf8.encode("bare/quota"), value: new Uint8Array(0) } };
    const failure = [{ request_range: { key: watermark } }, quota];
    const { succeeded, responses } = await bare.txn({ compare, success: items.map(put), failure });
    if (!succeeded || responses.some(({ response_txn }) => response_txn?.succeeded === true))
      throw new Error("not put");
  };
  const readSome = async (names: readonly string[]) => {
    const ranges = names.map((key) => ({ key: place(key) }));
    const kvs =
      ranges.length === 1
        ? (await bare.range(ranges[0] ?? {})).kvs
        : (await bare.txn({ success: ranges.map((request_range) => ({ request_range })) })).responses.flatMap(
            ({ response_range }) => response_range?.kvs ?? [],
          );
    for (const [i, kv] of kvs.entries()) decodeEnvelope(kv.value, { key: names[i] ?? "" });
    if (kvs.length !== names.length) throw new Error("not found");
  };
  return {
    store,
    bare: {
      write: (items) => atOnce(slices(items, IN_TXN), TXNS_AT_ONCE, writeSome),
      read: (names) => atOnce(slices(names, IN_TXN), TXNS_AT_ONCE, readSome),
    },
    bareIs: "grpc-js with proto-loader: the same nested transactions, 126 keys each, 4 at once, and the same envelopes",
    versions: `etcd ${/\d[\d.]*/.exec(cluster.ctl("version"))?.[0] ?? ""}, @grpc/grpc-js`,
    unit: "transactions",
    requests: async () => (await cluster.members[0]?.metric(HANDLED)) ?? 0,
    async close() {
      await store.close();
      bare.close();
      await cluster.close();
    },
  };
}
