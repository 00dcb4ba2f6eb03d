/**
 * What the codec and the envelope cost beside other ways to make bytes of values, in one run: `npm run bench:envelope`,
 * or with `-- --rounds 15 --json`. docs/performance.md has what it printed last.
 */
import { execFileSync } from "node:child_process";
import { randomFillSync } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { parseArgs } from "node:util";
import { deserialize, serialize } from "node:v8";
import { steps } from "../examples/start/progress.ts";
import { box, paintFor } from "../examples/start/table.ts";
import { defaultCodec } from "../src/codec.ts";
import type { Entry } from "../src/entry.ts";
import { decodeEnvelope, encodeEnvelope } from "../src/envelope.ts";
import type { Compression } from "../src/envelope.ts";
import { metaOf } from "../src/sync/call.ts";
import { entryOf } from "../src/sync/writing.ts";
import { formatVersion } from "../src/version.ts";
import { zlibCompression } from "../src/zlib.ts";
import { machine, short, spreadOf } from "./report.ts";
import type { Spread } from "./report.ts";

const PEERS = "bench/envelope";
/**
 * How much one loop of a round works about, in milliseconds of processor time: the work is nothing but that, and what
 * else the machine does is hardly in it.
 */
const LOOP_MS = 25;

const KEY = "users/1042/profile";
const VERSION = formatVersion(1.76e12, 7, "0123456789abcdef");

/** A way to make bytes of a value and to read them. */
interface Way {
  readonly name: string;
  readonly encode: (value: unknown) => Uint8Array;
  readonly decode: (bytes: Uint8Array) => unknown;
}

interface Subject {
  readonly name: string;
  /** Taken in turn, so that no way sees one value only. */
  readonly values: readonly unknown[];
}

interface Figure {
  readonly subject: string;
  readonly way: string;
  /** Microseconds of processor time for one value. */
  readonly encode: Spread;
  readonly decode: Spread;
  /** Of the first value. */
  readonly bytes: number;
}

const { values: flags } = parseArgs({
  options: { rounds: { type: "string", default: "9" }, json: { type: "boolean", default: false } },
});
const rounds = Number(flags.rounds);
if (!(Number.isInteger(rounds) && rounds > 0)) throw new Error("--rounds is a whole number above 0");
if (!existsSync(`${PEERS}/node_modules`)) {
  const windows = process.platform === "win32";
  execFileSync("npm", ["ci", "--ignore-scripts"], {
    cwd: PEERS,
    stdio: ["ignore", "ignore", "inherit"],
    shell: windows,
  });
}
const before = machine();
const ways = allWays();
const figures = subjects().flatMap((subject) => race(subject));
process.stdout.write(flags.json ? `${JSON.stringify({ before, after: machine(), rounds, figures })}\n` : table());

function allWays(): readonly Way[] {
  const require = createRequire(new URL(`../../../${PEERS}/package.json`, import.meta.url));
  interface Packer {
    pack(value: unknown): Uint8Array;
    unpack(bytes: Uint8Array): unknown;
  }
  interface Cbor {
    encode(value: unknown): Uint8Array;
    decode(bytes: Uint8Array): unknown;
  }
  const { Packr } = require("msgpackr") as { Packr: new () => Packer };
  const { Encoder } = require("cbor-x") as { Encoder: new () => Cbor };
  const [msgpackr, cbor] = [new Packr(), new Encoder()];
  const [toBytes, toText] = [new TextEncoder(), new TextDecoder()];
  return [
    {
      name: "JSON, UTF-8",
      encode: (value) => toBytes.encode(JSON.stringify(value instanceof Uint8Array ? base64(value) : value)),
      decode: (bytes) => {
        const value: unknown = JSON.parse(toText.decode(bytes));
        return typeof value === "string" ? Buffer.from(value, "base64") : value;
      },
    },
    { name: "v8.serialize", encode: serialize, decode: deserialize },
    { name: "msgpackr", encode: (value) => msgpackr.pack(value), decode: (bytes) => msgpackr.unpack(bytes) },
    { name: "cbor-x", encode: (value) => cbor.encode(value), decode: (bytes) => cbor.decode(bytes) },
    codec(),
    enveloped("codec, envelope", undefined),
    enveloped("codec, envelope, DEFLATE", zlibCompression),
    bare(),
  ];
}

function base64({ buffer, byteOffset, byteLength }: Uint8Array): string {
  return Buffer.from(buffer, byteOffset, byteLength).toString("base64");
}

function codec(): Way {
  let type = "";
  return {
    name: "codec",
    encode(value) {
      const { bytes, contentType } = defaultCodec.encode(value);
      type = contentType;
      return bytes;
    },
    decode: (bytes) => defaultCodec.decode(bytes, type).value,
  };
}

/** As a set makes it. A spread of the other parts would take Node 20 longer than the codec. */
function entryFor(value: unknown): Entry {
  const { bytes, contentType } = defaultCodec.encode(value);
  return entryOf(
    { key: KEY, state: "value", value: bytes, expires: null, meta: metaOf(undefined, contentType) },
    VERSION,
  );
}

/** What a set and a cold get do, from the value to the bytes of a store and back. */
function enveloped(name: string, compression: Compression | undefined): Way {
  return {
    name,
    encode(value) {
      return encodeEnvelope(entryFor(value), { compression });
    },
    decode(bytes) {
      const { value, meta } = decodeEnvelope(bytes, { key: KEY, compression }).entry;
      return defaultCodec.decode(value ?? new Uint8Array(), meta["content-type"]).value;
    },
  };
}

/** The envelope alone, around the codec's bytes. */
function bare(): Way {
  const entries = new WeakMap<object, Entry>();
  return {
    name: "envelope alone",
    encode(value) {
      let entry = entries.get(value as object);
      if (entry === undefined) {
        entry = entryFor(value);
        entries.set(value as object, entry);
      }
      return encodeEnvelope(entry);
    },
    decode: (bytes) => decodeEnvelope(bytes, { key: KEY }).entry.value,
  };
}

function subjects(): readonly Subject[] {
  const { css } = createRequire(import.meta.url)("@mdn/browser-compat-data") as { css: { properties: object } };
  const document = (css.properties as Record<string, unknown>)["animation"];
  const small = Array.from({ length: 100 }, (_, i) => ({
    id: 1_000 + i,
    name: `Ada Lovelace ${i}`,
    email: `ada${i}@example.org`,
    roles: ["admin", "author"],
    active: i % 2 === 0,
    score: i / 7,
  }));
  return [
    { name: "small object", values: small },
    { name: "20 KB document", values: [document] },
    { name: "1 MiB of bytes", values: [randomFillSync(new Uint8Array(2 ** 20))] },
  ];
}

/** Each way in a loop of its own, all of them in turn, and then again. */
function race({ name, values }: Subject): readonly Figure[] {
  const bars = steps(process.stderr);
  const racers = ways.map((way) => {
    const encoded = values.map((value) => way.encode(value));
    const back = way.decode(encoded[0] as Uint8Array);
    if (way.name !== "envelope alone" && !isSame(back, values[0])) throw new Error(`${way.name} is not exact`);
    const encode = loop(values, (value) => way.encode(value));
    const decode = loop(encoded, (bytes) => way.decode(bytes));
    return { way, bytes: encoded[0]?.length ?? 0, encode, decode, encodes: [] as number[], decodes: [] as number[] };
  });
  for (let round = 0; round < rounds; round++) {
    bars.show(name, round, rounds);
    const turn = [...racers.slice(round % racers.length), ...racers.slice(0, round % racers.length)];
    for (const racer of turn) {
      racer.encodes.push(racer.encode());
      racer.decodes.push(racer.decode());
    }
  }
  bars.end();
  return racers.map(({ way, bytes, encodes, decodes }) => {
    return { subject: name, way: way.name, encode: spreadOf(encodes), decode: spreadOf(decodes), bytes };
  });
}

function isSame(a: unknown, b: unknown): boolean {
  if (a instanceof Uint8Array && b instanceof Uint8Array) return Buffer.compare(a, b) === 0;
  return JSON.stringify(a) === JSON.stringify(b);
}

/** Runs the work for about {@link LOOP_MS}, warm; gives microseconds of processor time for one item. */
function loop<T>(items: readonly T[], work: (item: T) => unknown): () => number {
  let kept: unknown;
  const run = (count: number) => {
    const before = process.cpuUsage();
    for (let i = 0; i < count; i++) kept = work(items[i % items.length] as T);
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1_000;
  };
  let count = 1;
  while (run(count) < LOOP_MS) count *= 2;
  return () => {
    const us = (run(count) * 1_000) / count;
    if (kept === undefined) throw new Error("nothing was done");
    return us;
  };
}

function table(): string {
  const columns = [
    { title: "value", align: "left" },
    { title: "way", align: "left" },
    { title: "encode µs", align: "right" },
    { title: "spread", align: "right" },
    { title: "decode µs", align: "right" },
    { title: "spread", align: "right" },
    { title: "bytes", align: "right" },
  ] as const;
  const middle = ({ from, to }: Spread) => `${short(from)} … ${short(to)}`;
  const rows = figures.map(({ subject, way, encode, decode, bytes }) => {
    const texts = [short(encode.median), middle(encode), short(decode.median), middle(decode)];
    return [subject, way, ...texts, bytes.toLocaleString("en-US")];
  });
  const versions = Object.entries(
    (JSON.parse(readFileSync(`${PEERS}/package.json`, "utf8")) as { dependencies: Record<string, string> })
      .dependencies,
  ).map((pair) => pair.join(" "));
  return [
    `before: ${before}`,
    `after:  ${machine()}`,
    `${versions.join(", ")}; ${rounds} rounds; medians of processor time. Spread: the middle half of the rounds.`,
    ...box(columns, rows, paintFor(process.stdout, process.env)),
    "",
  ].join("\n");
}
