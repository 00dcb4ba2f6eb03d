import { collected } from "../../body.ts";
import type { Body, ByteRange } from "../../body.ts";
import type { Entry } from "../../entry.ts";
import { SyncError } from "../../error.ts";
import type { Answer, Store, Write } from "../../store.ts";
import { claim, same } from "../assert.ts";
import { sha256 } from "../sha256.ts";
import { UTF8, all, answers, conditional, plain, stubbing, writable } from "./context.ts";
import type { Check, Context, Unless } from "./context.ts";
import { outcome } from "./values.ts";

const BYTES = 5000;
const streaming: Unless = all(writable, ({ store }) =>
  store.supports.streamBytesMax >= BYTES ? undefined : "the store takes no values as streams",
);

export const streamChecks: readonly Check[] = [
  {
    id: "streams/bytes",
    title: "gives back a value that came as a stream, in one piece and in many, with all that is said of it",
    unless: streaming,
    async run(t) {
      const { entry, bytes, write } = streamed(t, `${t.prefix()}k`, { "content-type": "video/mp4", a: "b" });
      same((await t.write([write])).map(outcome), ["stored"], "results");
      const answer = await inPieces(t.store, entry.key);
      same(plain(answer.entry), plain(entry), "the stub beside the body");
      same(answer.body?.size, BYTES, "size");
      same(await collected(bodyOf(answer)), bytes, "the body's bytes");
      same(await collected(bodyOf(answer)), bytes, "the body's bytes, read once more");
      const [whole] = await t.store.read([entry.key], { wholeBytesMax: BYTES });
      answers(whole, { ...entry, state: "value", value: bytes }, "in one piece");
    },
  },
  {
    id: "streams/ranges",
    title: "gives any part of a value",
    unless: streaming,
    async run(t) {
      const { entry, bytes, write } = streamed(t, `${t.prefix()}k`);
      await t.write([write]);
      const body = bodyOf(await inPieces(t.store, entry.key));
      for (const range of [
        { start: 0, end: 1 },
        { start: 1000, end: 1030 },
        { start: 4999 },
        { end: 4999 },
        { start: 7, end: 7 },
        { start: 4000, end: 9000 },
        { start: 6000 },
      ]) {
        const part = await joined(body, range);
        same(part, bytes.slice(range.start ?? 0, range.end), `bytes ${JSON.stringify(range)}`);
      }
    },
  },
  {
    id: "streams/merge",
    title: "keeps the newest of values that came whole and as streams",
    unless: streaming,
    async run(t) {
      const key = `${t.prefix()}k`;
      const [first, second] = [streamed(t, key), streamed(t, key)];
      const third = t.value(key, "whole");
      const fourth = streamed(t, key);
      same((await t.write([second.write])).map(outcome), ["stored"], "a stream");
      same((await t.write([first.write])).map(outcome), ["superseded"], "an older one");
      same(await bytesNow(t, key), second.bytes, "after the older one");
      same((await t.write([third])).map(outcome), ["stored"], "a newer value, whole");
      answers(await t.readOne(key), third, "after the newer value");
      same((await t.write([second.write])).map(outcome), ["superseded"], "the stream again");
      same((await t.write([fourth.write])).map(outcome), ["stored"], "a newer stream");
      same((await t.write([fourth.write])).map(outcome), ["stored"], "the same again");
      same(await bytesNow(t, key), fourth.bytes, "at the end");
      const gone = t.tombstone(key);
      await t.write([gone]);
      answers(await t.readOne(key), gone, "after a tombstone");
    },
  },
  {
    id: "streams/stubs",
    title: "takes a stream over the stub of its version, and no stub over a stream",
    unless: all(streaming, stubbing),
    async run(t) {
      const { entry, bytes, write } = streamed(t, `${t.prefix()}k`);
      await t.write([entry]);
      same((await t.readOne(entry.key)).entry?.state, "stub", "the stub");
      same((await t.write([write])).map(outcome), ["stored"], "the stream");
      same(await bytesNow(t, entry.key), bytes, "after the stream");
      await t.write([entry]);
      same(await bytesNow(t, entry.key), bytes, "after the stub came again");
    },
  },
  {
    id: "streams/broken",
    title: "stores nothing of a stream that breaks, ends early or brings other bytes, and keeps what it had",
    unless: streaming,
    async run(t) {
      const key = `${t.prefix()}k`;
      const old = t.value(key, "old");
      await t.put([old]);
      for (const fault of ["breaks", "ends early", "is longer", "is another"] as const) {
        const { write } = streamed(t, key, {}, fault);
        const results = await t
          .write([write])
          .catch((error: unknown) => [{ status: "failed", error: error as SyncError }]);
        same(results[0]?.status, "failed", `a stream that ${fault}`);
        answers(await t.readOne(key), old, `after a stream that ${fault}`);
      }
    },
  },
  {
    id: "streams/replaced",
    title: "gives the bytes of the version that was told, or says that it is gone",
    unless: streaming,
    async run(t) {
      const key = `${t.prefix()}k`;
      const [old, next] = [streamed(t, key), streamed(t, key)];
      await t.write([old.write]);
      const body = bodyOf(await inPieces(t.store, key));
      await t.write([next.write]);
      const got = await collected(body).catch((error: unknown) => (error instanceof SyncError ? error.code : error));
      if (got !== "NOT_FOUND") same(got, old.bytes, "the body of the older version");
    },
  },
  {
    id: "streams/lists",
    title: "lists a value that came as a stream like any, without its bytes where it is larger than asked for",
    unless: streaming,
    async run(t) {
      const prefix = t.prefix();
      const { entry, bytes, write } = streamed(t, `${prefix}k`);
      await t.write([write]);
      const [head] = await t.list({ prefix }, { detail: "entries" });
      same(head?.head?.state, "value", "state in a list of entries");
      const [without] = await t.list({ prefix }, { detail: "values", wholeBytesMax: 10 });
      same(
        [without?.head?.version, without?.head?.state, without?.value],
        [entry.version, "value", null],
        "without its bytes",
      );
      const [within] = await t.list({ prefix }, { detail: "values", wholeBytesMax: BYTES });
      same(within?.value, bytes, "with its bytes");
    },
  },
  {
    id: "streams/conditions",
    title: "decides conditions of streams",
    unless: all(streaming, conditional),
    async run(t) {
      const key = `${t.prefix()}k`;
      const [first, second, third] = [streamed(t, key), streamed(t, key), streamed(t, key)];
      same((await t.write([{ ...first.write, if: "absent" }])).map(outcome), ["stored"], "absent");
      same((await t.write([{ ...second.write, if: "absent" }])).map(outcome), ["conflict"], "no more absent");
      same((await t.write([{ ...third.write, if: first.entry.version }])).map(outcome), ["stored"], "a version");
      same(await bytesNow(t, key), third.bytes, "at the end");
    },
  },
  {
    id: "streams/survives-reopening",
    title: "has a value that came as a stream after it was opened again",
    unless: all(streaming, ({ reopen }) => (reopen === undefined ? "no reopen was given" : undefined)),
    async run(t) {
      const opened = await t.fresh();
      const { entry, bytes, write } = streamed(t, "k");
      await t.write([write], opened.store);
      const again = await t.reopen(opened);
      same(await bytesNow(t, entry.key, again.store), bytes, "after it was opened again");
    },
  },
  {
    id: "streams/unsupported",
    title: "refuses streams with UNSUPPORTED where it takes none, and stores the others of the call",
    unless: all(writable, ({ store }) => (store.supports.streamBytesMax === 0 ? undefined : "the store takes streams")),
    async run(t) {
      const prefix = t.prefix();
      const { write } = streamed(t, `${prefix}stream`);
      const value = t.value(`${prefix}value`, "x");
      same((await t.write([write, value])).map(outcome), ["failed UNSUPPORTED", "stored"], "results");
      answers(await t.readOne(write.entry.key), undefined, "the stream's key");
    },
  },
];

type Fault = "breaks" | "ends early" | "is longer" | "is another";

/** A write of random bytes that come in pieces of uneven sizes. */
function streamed(t: Context, key: string, meta: Record<string, string> = {}, fault?: Fault) {
  const bytes = t.random.bytes(BYTES);
  const sum = sha256();
  sum.update(bytes);
  const entry = t.stub(key, { meta });
  async function* pieces(from: number, to: number): AsyncIterable<Uint8Array> {
    for (let at = from, length = 1; at < to; at += length, length = (length * 3) % 1999) {
      await Promise.resolve();
      if (fault === "breaks" && at > 2000) throw new SyncError("ABORTED", "the source broke");
      const piece = bytes.slice(at, Math.min(to, at + length));
      if (fault === "is another" && at > 2000) piece.fill(0);
      if (fault === "ends early" && at > 2000) return;
      yield piece;
    }
    if (fault === "is longer") yield UTF8.encode("more");
  }
  const body: Body = {
    size: BYTES,
    sha256: sum.digest(),
    content: ({ start = 0, end = BYTES } = {}) => pieces(start, Math.min(end, BYTES)),
  };
  const write: Write = { entry, asOf: t.runtime.now(), body };
  return { entry, bytes, write };
}

/** What a reader gets who wants nothing whole. */
async function inPieces(store: Store, key: string): Promise<Answer> {
  const [answer] = await store.read([key], { wholeBytesMax: 0 });
  claim(answer !== undefined, "there is no answer");
  return answer;
}

function bodyOf({ body }: Answer): Body {
  claim(body !== undefined, "a value larger than asked for was not given as a body");
  return body;
}

async function bytesNow(t: Context, key: string, store: Store = t.store): Promise<Uint8Array | null | undefined> {
  const answer: { readonly entry: Entry | undefined; readonly body?: Body | undefined } = await inPieces(store, key);
  return answer.body === undefined ? answer.entry?.value : collected(answer.body);
}

async function joined(body: Body, range: ByteRange): Promise<Uint8Array> {
  const pieces: number[] = [];
  for await (const piece of body.content(range)) pieces.push(...piece);
  return Uint8Array.from(pieces);
}
