/**
 * What this store says to etcd, and hears: the messages and methods of etcd's rpc.proto and kv.proto (version 3.4, which
 * later ones continue), with the fields that are used here.
 */
import { bytes, flag, id, int, later, many, message, string } from "./wire.ts";
import type { Message } from "./wire.ts";

export interface Header {
  readonly clusterId: bigint;
  readonly memberId: bigint;
  readonly revision: number;
}
const header = message<Header>({ clusterId: [1, id], memberId: [2, id], revision: [3, int] });

export interface KeyValue {
  readonly key: Uint8Array;
  readonly createRevision: number;
  readonly modRevision: number;
  readonly version: number;
  readonly value: Uint8Array;
  readonly lease: bigint;
}
const keyValue = message<KeyValue>({
  key: [1, bytes],
  createRevision: [2, int],
  modRevision: [3, int],
  version: [4, int],
  value: [5, bytes],
  lease: [6, id],
});

export const ASCEND = 1;
export const SORT_BY_MOD = 3;

export interface RangeRequest {
  readonly key?: Uint8Array;
  /** Up to, without; empty: the key alone. */
  readonly rangeEnd?: Uint8Array;
  readonly limit?: number;
  /** 0: the newest. */
  readonly revision?: number;
  readonly sortOrder?: number;
  readonly sortTarget?: number;
  readonly keysOnly?: boolean;
  readonly countOnly?: boolean;
  readonly minModRevision?: number;
  readonly maxModRevision?: number;
  readonly minCreateRevision?: number;
}
const rangeRequest = message<RangeRequest>({
  key: [1, bytes],
  rangeEnd: [2, bytes],
  limit: [3, int],
  revision: [4, int],
  sortOrder: [5, int],
  sortTarget: [6, int],
  keysOnly: [8, flag],
  countOnly: [9, flag],
  minModRevision: [10, int],
  maxModRevision: [11, int],
  minCreateRevision: [12, int],
});

export interface RangeResponse {
  readonly header: Header | undefined;
  readonly kvs: readonly KeyValue[];
  readonly more: boolean;
  readonly count: number;
}
const rangeResponse = message<RangeResponse>({
  header: [1, header.field],
  kvs: [2, many(keyValue.field)],
  more: [3, flag],
  count: [4, int],
});

export interface PutRequest {
  readonly key?: Uint8Array;
  readonly value?: Uint8Array;
  /** 0: none, and the key leaves the one it had. */
  readonly lease?: bigint;
  /** The key keeps the lease it has. */
  readonly ignoreLease?: boolean;
}
const putRequest = message<PutRequest>({
  key: [1, bytes],
  value: [2, bytes],
  lease: [3, id],
  ignoreLease: [6, flag],
});

export interface DeleteRequest {
  readonly key?: Uint8Array;
  readonly rangeEnd?: Uint8Array;
}
const deleteRequest = message<DeleteRequest>({ key: [1, bytes], rangeEnd: [2, bytes] });

export const EQUAL = 0;
export const GREATER = 1;
export const LESS = 2;
export const OF_CREATE = 1;
export const OF_MOD = 2;
export const OF_VALUE = 3;

export interface Compare {
  readonly result?: number;
  readonly target?: number;
  readonly key?: Uint8Array;
  readonly createRevision?: number;
  readonly modRevision?: number;
  readonly value?: Uint8Array;
}
const compare = message<Compare>({
  result: [1, int],
  target: [2, int],
  key: [3, bytes],
  createRevision: [5, int],
  modRevision: [6, int],
  value: [7, bytes],
});

/** Exactly one of them. */
export interface Op {
  readonly range?: RangeRequest;
  readonly put?: PutRequest;
  readonly remove?: DeleteRequest;
  readonly txn?: TxnRequest;
}

export interface TxnRequest {
  readonly compare?: readonly Compare[];
  readonly success?: readonly Op[];
  readonly failure?: readonly Op[];
}

const op: Message<Op> = message<Op>({
  range: [1, rangeRequest.field],
  put: [2, putRequest.field],
  remove: [3, deleteRequest.field],
  txn: [4, later<TxnRequest>(() => txnRequest)],
});
const txnRequest: Message<TxnRequest> = message<TxnRequest>({
  compare: [1, many(compare.field)],
  success: [2, many(op.field)],
  failure: [3, many(op.field)],
});

export interface ResponseOp {
  readonly range: RangeResponse | undefined;
  readonly txn: TxnResponse | undefined;
}
export interface TxnResponse {
  readonly header: Header | undefined;
  readonly succeeded: boolean;
  readonly responses: readonly ResponseOp[];
}
const responseOp = message<ResponseOp>({
  range: [1, rangeResponse.field],
  txn: [4, later<TxnResponse>(() => txnResponse)],
});
const txnResponse: Message<TxnResponse> = message<TxnResponse>({
  header: [1, header.field],
  succeeded: [2, flag],
  responses: [3, many(responseOp.field)],
});

/** One of the three. */
export interface WatchRequest {
  readonly create?: WatchCreate;
  readonly progress?: object;
}
interface WatchCreate {
  readonly key?: Uint8Array;
  readonly rangeEnd?: Uint8Array;
  readonly startRevision?: number;
  readonly watchId?: number;
}
const watchCreate = message<WatchCreate>({
  key: [1, bytes],
  rangeEnd: [2, bytes],
  startRevision: [3, int],
  watchId: [7, int],
});
const watchRequest = message<WatchRequest>({
  create: [1, watchCreate.field],
  progress: [3, message<object>({}).field],
});

export const DELETED = 1;
export interface WatchEvent {
  readonly type: number;
  readonly kv: KeyValue | undefined;
}
export interface WatchResponse {
  readonly header: Header | undefined;
  readonly watchId: number;
  readonly created: boolean;
  readonly canceled: boolean;
  /** Above 0: what was asked for is older than this, and gone. */
  readonly compactRevision: number;
  readonly cancelReason: string;
  readonly events: readonly WatchEvent[];
}
const watchResponse = message<WatchResponse>({
  header: [1, header.field],
  watchId: [2, int],
  created: [3, flag],
  canceled: [4, flag],
  compactRevision: [5, int],
  cancelReason: [6, string],
  events: [11, many(message<WatchEvent>({ type: [1, int], kv: [2, keyValue.field] }).field)],
});

export const NOSPACE = 1;
export const ALARM_GET = 0;
export const ALARM_DEACTIVATE = 2;
interface Alarm {
  readonly memberId: bigint;
  readonly alarm: number;
}

interface Headed {
  readonly header: Header | undefined;
}
const headed = message<Headed>({ header: [1, header.field] });

/** A call with one answer. */
export interface Method<Q, A> {
  readonly path: string;
  readonly request: Message<Q>;
  readonly answer: Message<A>;
}

export const RANGE: Method<RangeRequest, RangeResponse> = {
  path: "/etcdserverpb.KV/Range",
  request: rangeRequest,
  answer: rangeResponse,
};
export const TXN: Method<TxnRequest, TxnResponse> = {
  path: "/etcdserverpb.KV/Txn",
  request: txnRequest,
  answer: txnResponse,
};
export const COMPACT: Method<{ revision: number; physical: boolean }, Headed> = {
  path: "/etcdserverpb.KV/Compact",
  request: message<{ revision: number; physical: boolean }>({ revision: [1, int], physical: [2, flag] }),
  answer: headed,
};
interface Grant {
  readonly ttl: number;
  readonly id: bigint;
}
interface Granted {
  readonly header: Header | undefined;
  readonly id: bigint;
  readonly ttl: number;
}
export const LEASE_GRANT: Method<Grant, Granted> = {
  path: "/etcdserverpb.Lease/LeaseGrant",
  request: message<Grant>({ ttl: [1, int], id: [2, id] }),
  answer: message<Granted>({ header: [1, header.field], id: [2, id], ttl: [3, int] }),
};
export const DEFRAGMENT: Method<object, Headed> = {
  path: "/etcdserverpb.Maintenance/Defragment",
  request: message<object>({}),
  answer: headed,
};
interface AlarmRequest {
  readonly action: number;
  readonly memberId: bigint;
  readonly alarm: number;
}
interface AlarmResponse {
  readonly header: Header | undefined;
  readonly alarms: readonly Alarm[];
}
export const ALARM: Method<AlarmRequest, AlarmResponse> = {
  path: "/etcdserverpb.Maintenance/Alarm",
  request: message<AlarmRequest>({ action: [1, int], memberId: [2, id], alarm: [3, int] }),
  answer: message<AlarmResponse>({
    header: [1, header.field],
    alarms: [2, many(message<Alarm>({ memberId: [1, id], alarm: [2, int] }).field)],
  }),
};
interface Login {
  readonly name: string;
  readonly password: string;
}
interface Token {
  readonly header: Header | undefined;
  readonly token: string;
}
export const AUTHENTICATE: Method<Login, Token> = {
  path: "/etcdserverpb.Auth/Authenticate",
  request: message<Login>({ name: [1, string], password: [2, string] }),
  answer: message<Token>({ header: [1, header.field], token: [2, string] }),
};

/** The call with many answers. */
export const WATCH = {
  path: "/etcdserverpb.Watch/Watch",
  request: watchRequest,
  answer: watchResponse,
} as const;
