/**
 * What the etcd store costs beside a bare gRPC client that does the same work, the same comparison of versions included:
 * `npx tsc -p bench && node build/bench/bench/etcd.js`. The figures in docs/stores/etcd.md come from here. Both speak to
 * one member, which this starts; rounds alternate, so that what else the machine does falls on both.
 */
import { NO_META } from "../src/entry.ts";
import type { Entry } from "../src/entry.ts";
import { decodeEnvelope, encodeEnvelope } from "../src/envelope.ts";
import { etcd } from "../src/stores/etcd.ts";
import { systemRuntime } from "../src/system.ts";
import { formatVersion, versionToBytes } from "../src/version.ts";
import { startEtcd } from "../test/servers/etcd.ts";
import { bareEtcd } from "./etcd-bare.ts";

const KEYS = 1000;
const ROUNDS = Number(process.env["ROUNDS"] ?? 9);
const IN_TXN = 126;
const AT_ONCE = 64;
const keys = Array.from({ length: KEYS }, (_, i) => `users/${i}/profile`);
const value = new TextEncoder().encode(JSON.stringify({ name: "Ada", text: "x".repeat(220) }));
let ms = 1.7e12;

function entries(): Entry[] {
  ms++;
  return keys.map((key) => {
    return { key, state: "value", value, version: formatVersion(ms, 0, "0".repeat(16)), expires: null, meta: NO_META };
  });
}

const cluster = await startEtcd();
const store = await etcd(`etcd://${cluster.endpoints}/bench`, { runtime: systemRuntime, env: {} });
const bare = bareEtcd(cluster.endpoints);
const utf8 = new TextEncoder();
const place = (key: string) => utf8.encode(`bare/k/${key}`);
const watermark = utf8.encode("bare/watermark");
await bare.txn({ success: [{ request_put: { key: watermark, value: new Uint8Array(16) } }] });

/** If the value there is greater than the stem of this version, show it, else put this one. */
function bareOp(entry: Entry): object {
  const key = place(entry.key);
  const stem = Buffer.concat([Buffer.from("f5535901", "hex"), versionToBytes(entry.version)]);
  return {
    request_txn: {
      compare: [{ result: 1, target: 3, key, value: stem }],
      success: [{ request_range: { key } }],
      failure: [{ request_put: { key, value: encodeEnvelope(entry) } }],
    },
  };
}

async function bareWrite(items: readonly Entry[]): Promise<void> {
  const compare = [{ result: 2, target: 3, key: watermark, value: versionToBytes(items[0]?.version as never) }];
  const quota = { request_put: { key: utf8.encode("bare/quota"), value: new Uint8Array(0) } };
  const failure = [{ request_range: { key: watermark } }, quota];
  const { succeeded, responses } = await bare.txn({ compare, success: items.map(bareOp), failure });
  if (!succeeded || responses.some(({ response_txn }) => response_txn?.succeeded === true)) throw new Error("not put");
}

async function bareRead(some: readonly string[]): Promise<void> {
  const ranges = some.map((key) => ({ key: place(key) }));
  const kvs =
    ranges.length === 1
      ? (await bare.range(ranges[0] ?? {})).kvs
      : (await bare.txn({ success: ranges.map((request_range) => ({ request_range })) })).responses.flatMap(
          ({ response_range }) => response_range?.kvs ?? [],
        );
  for (const [i, kv] of kvs.entries()) decodeEnvelope(kv.value, { key: some[i] ?? "" });
  if (kvs.length !== some.length) throw new Error("not found");
}

async function storeWrite(items: readonly Entry[]): Promise<void> {
  const results = await store.write(items.map((entry) => ({ entry, asOf: ms })));
  if (results.some(({ status }) => status !== "stored")) throw new Error("not stored");
}

async function storeRead(some: readonly string[]): Promise<void> {
  const answers = await store.read(some);
  if (answers.some(({ entry }) => entry === undefined)) throw new Error("not found");
}

/** Several under way at once, as many calls as it takes. */
async function atOnce<T>(items: readonly T[], width: number, work: (item: T) => Promise<void>): Promise<void> {
  let next = 0;
  const worker = async () => {
    while (next < items.length) await work(items[next++] as T);
  };
  await Promise.all(Array.from({ length: width }, worker));
}

function slices<T>(items: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, i) => items.slice(i * size, (i + 1) * size));
}

interface Contest {
  readonly name: string;
  readonly count: number;
  readonly ours: () => Promise<void>;
  readonly theirs: () => Promise<void>;
}

const SINGLES = 200;
const contests: readonly Contest[] = [
  {
    name: "write, 1 key a call, one after the other",
    count: SINGLES,
    ours: () => atOnce(entries().slice(0, SINGLES), 1, (item) => storeWrite([item])),
    theirs: () => atOnce(entries().slice(0, SINGLES), 1, (item) => bareWrite([item])),
  },
  {
    name: `write, 1 key a call, ${AT_ONCE} calls at once`,
    count: KEYS,
    ours: () => atOnce(entries(), AT_ONCE, (item) => storeWrite([item])),
    theirs: () => atOnce(entries(), AT_ONCE, (item) => bareWrite([item])),
  },
  {
    name: "write, 1,000 keys a call",
    count: KEYS,
    ours: () => storeWrite(entries()),
    theirs: () => atOnce(slices(entries(), IN_TXN), 4, bareWrite),
  },
  {
    name: "read, 1 key a call, one after the other",
    count: SINGLES,
    ours: () => atOnce(keys.slice(0, SINGLES), 1, (key) => storeRead([key])),
    theirs: () => atOnce(keys.slice(0, SINGLES), 1, (key) => bareRead([key])),
  },
  {
    name: `read, 1 key a call, ${AT_ONCE} calls at once`,
    count: KEYS,
    ours: () => atOnce(keys, AT_ONCE, (key) => storeRead([key])),
    theirs: () => atOnce(keys, AT_ONCE, (key) => bareRead([key])),
  },
  {
    name: "read, 1,000 keys a call",
    count: KEYS,
    ours: () => storeRead(keys),
    theirs: () => atOnce(slices(keys, IN_TXN), 4, bareRead),
  },
];

async function took(work: () => Promise<void>): Promise<readonly [ms: number, cpuMs: number]> {
  const started = performance.now();
  const cpu = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(cpu);
  return [performance.now() - started, (user + system) / 1000];
}

const median = (times: readonly number[]) => times.toSorted((a, b) => a - b)[times.length >> 1] ?? 0;

for (const { name, count, ours, theirs } of contests) {
  for (let warm = 0; warm < 3; warm++) for (const work of [ours, theirs]) await work();
  const mine: (readonly [number, number])[] = [];
  const bares: (readonly [number, number])[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    // Each goes first every other time.
    if (round % 2 === 0) mine.push(await took(ours));
    bares.push(await took(theirs));
    if (round % 2 === 1) mine.push(await took(ours));
  }
  const [time, cpu] = [0, 1].map((i) => median(mine.map((pair) => pair[i] ?? 0))) as [number, number];
  const [bareTime, bareCpu] = [0, 1].map((i) => median(bares.map((pair) => pair[i] ?? 0))) as [number, number];
  // The ratio within each round: what the machine did besides changed less in it than between rounds.
  const ratio = (i: 0 | 1) => median(mine.map((pair, round) => pair[i] / (bares[round]?.[i] ?? Number.NaN)));
  const more = (i: 0 | 1) => `${((ratio(i) - 1) * 100).toFixed(0)} %`.padStart(6);
  const perSecond = (ms: number) => `${Math.round((count / ms) * 1000)}/s`.padStart(9);
  const us = (ms: number) => `${((ms * 1000) / count).toFixed(0)} us`.padStart(7);
  console.log(
    `${name.padEnd(40)} ${perSecond(time)} bare ${perSecond(bareTime)} ${more(0)}   CPU a key ${us(cpu)} bare ${us(bareCpu)} ${more(1)}`,
  );
}

// Transactions, as the server counts them.
const handled =
  'grpc_server_handled_total{grpc_code="OK",grpc_method="Txn",grpc_service="etcdserverpb.KV",grpc_type="unary"}';
const count = async () => (await cluster.members[0]?.metric(handled)) ?? 0;
async function requests(name: string, work: () => Promise<unknown>): Promise<void> {
  const before = await count();
  await work();
  console.log(`${name.padEnd(40)} ${(await count()) - before} transactions for 1,000 keys`);
}
const last = entries();
await requests("write, 1,000 keys a call", () => storeWrite(last));
await requests("the same again", () => storeWrite(last));
await requests("read, 1,000 keys a call", () => storeRead(keys));
await store.close();
bare.close();
await cluster.close();
