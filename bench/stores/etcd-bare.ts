/**
 * The bare gRPC client that bench/stores/etcd.ts measures the store against, and that tests compare messages with: grpc-js with
 * proto-loader, and etcd's own names for what is used of its protocol.
 */
import { credentials, loadPackageDefinition } from "@grpc/grpc-js";
import type { GrpcObject, ServiceClientConstructor } from "@grpc/grpc-js";
import { fromJSON } from "@grpc/proto-loader";

type Field = string | readonly [type: string, rule: "repeated"];

/** A message as protobufjs takes it: numbers by the order given, `_` for one that is left out. */
function message(...fields: readonly (readonly [id: number, name: string, type: Field])[]) {
  const entries = fields.map(([id, name, type]) => {
    return [name, typeof type === "string" ? { id, type } : { id, type: type[0], rule: type[1] }];
  });
  return { fields: Object.fromEntries(entries) as Record<string, { id: number; type: string }> };
}

const op = {
  ...message(
    [1, "request_range", "RangeRequest"],
    [2, "request_put", "PutRequest"],
    [3, "request_delete_range", "DeleteRangeRequest"],
    [4, "request_txn", "TxnRequest"],
  ),
  oneofs: { request: { oneof: ["request_range", "request_put", "request_delete_range", "request_txn"] } },
};

export const ETCD_PROTO = {
  nested: {
    etcdserverpb: {
      nested: {
        ResponseHeader: message([1, "cluster_id", "uint64"], [2, "member_id", "uint64"], [3, "revision", "int64"]),
        KeyValue: message(
          [1, "key", "bytes"],
          [2, "create_revision", "int64"],
          [3, "mod_revision", "int64"],
          [4, "version", "int64"],
          [5, "value", "bytes"],
          [6, "lease", "int64"],
        ),
        RangeRequest: message(
          [1, "key", "bytes"],
          [2, "range_end", "bytes"],
          [3, "limit", "int64"],
          [4, "revision", "int64"],
          [5, "sort_order", "int32"],
          [6, "sort_target", "int32"],
          [8, "keys_only", "bool"],
          [9, "count_only", "bool"],
        ),
        RangeResponse: message(
          [1, "header", "ResponseHeader"],
          [2, "kvs", ["KeyValue", "repeated"]],
          [3, "more", "bool"],
          [4, "count", "int64"],
        ),
        PutRequest: message(
          [1, "key", "bytes"],
          [2, "value", "bytes"],
          [3, "lease", "int64"],
          [6, "ignore_lease", "bool"],
        ),
        PutResponse: message([1, "header", "ResponseHeader"]),
        DeleteRangeRequest: message([1, "key", "bytes"], [2, "range_end", "bytes"]),
        Compare: {
          ...message(
            [1, "result", "int32"],
            [2, "target", "int32"],
            [3, "key", "bytes"],
            [5, "create_revision", "int64"],
            [6, "mod_revision", "int64"],
            [7, "value", "bytes"],
          ),
        },
        RequestOp: op,
        TxnRequest: message(
          [1, "compare", ["Compare", "repeated"]],
          [2, "success", ["RequestOp", "repeated"]],
          [3, "failure", ["RequestOp", "repeated"]],
        ),
        ResponseOp: message(
          [1, "response_range", "RangeResponse"],
          [2, "response_put", "PutResponse"],
          [4, "response_txn", "TxnResponse"],
        ),
        TxnResponse: message(
          [1, "header", "ResponseHeader"],
          [2, "succeeded", "bool"],
          [3, "responses", ["ResponseOp", "repeated"]],
        ),
        KV: {
          methods: {
            Range: { requestType: "RangeRequest", responseType: "RangeResponse" },
            Txn: { requestType: "TxnRequest", responseType: "TxnResponse" },
          },
        },
      },
    },
  },
};

/** As in every client made of proto-loader; numbers as numbers, for what is closest to this store. */
export const definition = fromJSON(ETCD_PROTO as never, { keepCase: true, longs: Number });

export interface BareRange {
  readonly kvs: readonly { readonly key: Buffer; readonly value: Buffer }[];
}
export interface BareTxn {
  readonly succeeded: boolean;
  readonly responses: readonly { readonly response_range?: BareRange; readonly response_txn?: BareTxn }[];
}

export interface BareEtcd {
  range(request: object): Promise<BareRange>;
  txn(request: object): Promise<BareTxn>;
  close(): void;
}

/** @param endpoint `host:port` */
export function bareEtcd(endpoint: string): BareEtcd {
  const found = (loadPackageDefinition(definition)["etcdserverpb"] as GrpcObject)["KV"] as ServiceClientConstructor;
  const client = new found(endpoint, credentials.createInsecure());
  const methods = client as unknown as Record<
    string,
    (request: object, done: (error: Error | null, answer: unknown) => void) => void
  >;
  const call = <T>(name: string, request: object): Promise<T> =>
    new Promise((resolve, reject) => {
      methods[name]?.call(client, request, (error, answer) => (error ? reject(error) : resolve(answer as T)));
    });
  return {
    range: (request) => call("Range", request),
    txn: (request) => call("Txn", request),
    close: () => client.close(),
  };
}
