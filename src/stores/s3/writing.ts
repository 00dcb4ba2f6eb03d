import { createHash } from "node:crypto";
import { wrongBytes } from "../../body.ts";
import type { Body } from "../../body.ts";
import { compareEntries } from "../../entry.ts";
import type { Entry } from "../../entry.ts";
import { SyncError, asSyncError } from "../../error.ts";
import { randomBelow, sleep } from "../../runtime.ts";
import { STORED, TOO_OLD, failed } from "../../store.ts";
import type { Write, WriteResult } from "../../store.ts";
import { VERSION_ZERO } from "../../version.ts";
import { conditionOf, head, put, remove } from "./bucket.ts";
import type { Over } from "./bucket.ts";
import type { Call } from "./call.ts";
import { SUM, sha256 } from "./client.ts";
import { decide, sameByHeaders } from "./decide.ts";
import { placed } from "./failures.ts";
import { mayBePlain, pastAfter } from "./form.ts";
import type { Past } from "./form.ts";
import { putStream } from "./multipart.ts";
import { headersOfBody, objectOf, unquoted } from "./object.ts";
import type { Found, Made } from "./object.ts";
import { grouped } from "./slots.ts";
import { fetchEntry, look, objectName, whereOf } from "./space.ts";
import type { Space } from "./space.ts";

/** How often the condition of a PUT may fail before the write does: each time somebody else wrote the key. */
const TRIES_MAX = 100;
/** From this try on a write waits before the next, up to this long, in milliseconds. */
const TRIES_AT_ONCE = 3;
const WAIT_MS_MAX = 200;
/** How long a key that is being removed is waited for, in looks of up to {@link WAIT_MS_MAX}. */
const GRAVE_LOOKS = 20;
/** A key nothing is known of is guessed to be absent only if a wrong guess wastes no more than this. */
const GUESS_BYTES_MAX = 64 * 1024;

interface Pending {
  readonly write: Write;
  readonly at: number;
}

/** An object that was put where nothing was. */
interface Created {
  readonly at: number;
  readonly name: string;
  readonly etag: string;
  readonly entry: Entry;
}

/** Fills in the results of the pending writes. @throws SyncError ABORTED or TIMEOUT; everything else is a result. */
export async function writeAll(
  space: Space,
  call: Call,
  pending: readonly Pending[],
  results: (WriteResult | undefined)[],
): Promise<void> {
  const created: Created[] = [];
  const keys = grouped(pending, ({ write }) => write.entry.key);
  const endings = [...keys].map(([key, writes]) => {
    const name = objectName(space, key);
    return space.slots.run(() =>
      space.turns.run(name, async () => {
        for (const { write, at } of writes) {
          const writing = new Writing(space, call, write, name);
          results[at] = await writing.run();
          if (writing.created !== undefined) created.push({ at, name, etag: writing.created, entry: write.entry });
        }
      }),
    );
  });
  for (const ending of await Promise.allSettled(endings)) if (ending.status === "rejected") throw ending.reason;
  await checkCreated(space, call, created, results);
}

/**
 * What was created at or below the collection watermark is taken back. The watermark is asked for after the writing,
 * because it is raised before anything is collected: whoever created over the place of a collected entry finds it raised.
 */
async function checkCreated(
  space: Space,
  call: Call,
  created: readonly Created[],
  results: (WriteResult | undefined)[],
): Promise<void> {
  if (created.length === 0) return;
  const watermark = await space.watermark.look(call);
  for (const { at, name, etag, entry } of created) {
    if (entry.version > watermark || results[at]?.status !== "stored") continue;
    const condition = space.abilities.remove ? conditionOf({ etag }, space.abilities.put) : {};
    const reply = await head(space.client, call, name, entry.key);
    if (reply !== undefined && unquoted(reply.headers["etag"] ?? "") === etag) {
      await remove(space.client, call, name, condition);
    }
    space.facts.drop(name);
    results[at] = TOO_OLD;
  }
}

/** One write: look, decide, put on condition of what was seen; again when somebody else was faster. */
class Writing {
  /** The ETag of what this write put where nothing was. */
  created: string | undefined;
  private readonly space: Space;
  private readonly call: Call;
  private readonly write: Write;
  private readonly name: string;
  /** A PUT was sent whose fate is not known. */
  private sent = false;
  private creating = false;
  private graves = 0;

  constructor(space: Space, call: Call, write: Write, name: string) {
    this.space = space;
    this.call = call;
    this.write = write;
    this.name = name;
  }

  async run(): Promise<WriteResult> {
    try {
      return await this.attempts();
    } catch (thrown) {
      const error = asSyncError(thrown, whereOf(this.space, this.call, this.write.entry.key));
      if (error.code === "ABORTED" || error.code === "TIMEOUT" || error.code === "CLOSED") throw error;
      if (!this.sent || this.write.if === undefined || error.code !== "UNAVAILABLE") return failed(error);
      const cure = "send the same write again";
      const what = "the conditional write may or may not have happened";
      const details = placed(whereOf(this.space, this.call, this.write.entry.key));
      return failed(new SyncError("INDETERMINATE", what, { ...details, cure, cause: error }));
    }
  }

  private async attempts(): Promise<WriteResult> {
    for (let tries = 1; tries <= TRIES_MAX; tries++) {
      if (tries > TRIES_AT_ONCE) await this.pause();
      const guess = tries === 1 ? this.guess() : undefined;
      const found = guess === undefined ? await this.look() : guess.found;
      const result = await this.attempt(found, guess === undefined);
      if (result !== undefined) return result;
    }
    const details = placed(whereOf(this.space, this.call, this.write.entry.key));
    const cure = "write it less often";
    throw new SyncError("OVERLOADED", `others wrote the key ${TRIES_MAX} times meanwhile`, { ...details, cure });
  }

  /** Undefined when it has to be tried again with a new look. */
  private async attempt(seen: Found | undefined, sure: boolean): Promise<WriteResult | undefined> {
    const { space, call, write, name } = this;
    const { entry } = write;
    if (seen?.grave === true && this.graves++ < GRAVE_LOOKS) {
      await this.pause();
      return undefined;
    }
    const found = seen?.grave === true ? undefined : seen;
    const decision = decide(write, found, space.watermark.known, space.runtime.now());
    if (!sure && decision.kind !== "put") return undefined;
    switch (decision.kind) {
      case "done":
        return decision.result;
      case "put":
        return this.put(seen, found === undefined);
      case "conflict": {
        const held = await fetchEntry(space, call, entry.key, name);
        if (decide(write, held?.found, space.watermark.known, space.runtime.now()).kind !== "conflict")
          return undefined;
        return { status: "conflict", current: held?.entry };
      }
      case "compare": {
        if (found === undefined) return undefined;
        if (write.body !== undefined) {
          if (found.head.state === "stub") return this.put(seen, false);
          if (this.creating) this.created = found.etag;
          return STORED; // a version has one value
        }
        const sum = entry.value === null ? undefined : sha256(entry.value);
        const held = sameByHeaders(entry, found, sum) ? undefined : await this.held();
        if (held === "damaged" || (held !== undefined && compareEntries(entry, held) > 0)) return this.put(seen, false);
        if (this.creating) this.created = found.etag; // by an earlier PUT whose answer was lost
        return STORED;
      }
    }
  }

  private async held(): Promise<Entry | "damaged" | undefined> {
    try {
      return (await fetchEntry(this.space, this.call, this.write.entry.key, this.name))?.entry;
    } catch (error) {
      if (error instanceof SyncError && error.code === "CORRUPT") return "damaged";
      throw error;
    }
  }

  private async put(over: Found | undefined, creates: boolean): Promise<WriteResult | undefined> {
    const { space, call, name } = this;
    const { entry } = this.write;
    const { client, runtime, limits, abilities } = space;
    const past = over === undefined ? [] : pastAfter(over.past, over.etag, over.form, runtime.now());
    if (this.write.body !== undefined) return this.putBody(this.write.body, over, past, creates);
    const made = objectOf(entry, past);
    const condition: Over = over === undefined ? "nothing" : { etag: over.etag };
    const at = runtime.monotonic();
    this.sent = true;
    this.creating ||= creates;
    const target = { name, key: entry.key, headers: made.headers, over: condition, conditions: abilities.put };
    // Endpoints with conditions do not all decide them when parts become an object; a single PUT they do decide.
    const parts = made.body.length >= limits.multipartBytes && abilities.put === "none";
    const stored = parts
      ? await putStream(client, call, { ...target, partBytes: limits.partBytes }, one(made.body))
      : await put(client, call, { name, key: entry.key, body: made.body }, summed(made), condition, abilities.put);
    const etag = typeof stored === "object" ? stored.etag : stored;
    if (etag === undefined) {
      space.facts.drop(name);
      if (over === undefined) space.expects.nothing = false;
      return undefined;
    }
    const { value: _, ...head } = entry;
    const form = typeof stored === "object" && stored.parts > 1 ? "named" : made.form;
    const found = { head, etag, seconds: undefined, bytes: made.body.length, form, past, sha256: made.sha256 };
    space.facts.set(name, { ...found, grave: false }, at);
    if (creates) this.created = etag;
    return STORED;
  }

  /**
   * One PUT, whose condition every endpoint decides that has any. In parts, whose ETag is new each time, where the bytes
   * may have been the key's before (form.ts): then the object is looked at once more right before it appears.
   */
  private async putBody(
    body: Body,
    over: Found | undefined,
    past: readonly Past[],
    creates: boolean,
  ): Promise<WriteResult | undefined> {
    const { space, call, name } = this;
    const { client, runtime, limits, abilities } = space;
    const { key } = this.write.entry;
    const { size, sha256: sum } = body;
    const open = (checked?: string) => exactly(size, checked, body.content(undefined, call.options));
    const condition: Over = over === undefined ? "nothing" : { etag: over.etag };
    const headers = headersOfBody(this.write.entry, sum, past);
    const at = runtime.monotonic();
    this.sent = true;
    this.creating ||= creates;
    let etag: string | undefined;
    let form: Found["form"] = "plain";
    if (abilities.put !== "none" && (await mayBePlain(past, () => md5Of(open())))) {
      const object = { name, key, stream: { bytes: size, sha256: sum, open: () => open() } };
      etag = await put(client, call, object, headers, condition, abilities.put);
    } else {
      const stillMet = async () => {
        const reply = await head(client, call, name, key);
        return unquoted(reply?.headers["etag"] ?? "") === (over?.etag ?? "");
      };
      const target = { name, key, headers, over: condition, conditions: abilities.put, partBytes: limits.partBytes };
      const stored = await putStream(client, call, { ...target, stillMet }, open(sum));
      etag = stored?.etag;
      if (stored !== undefined && stored.parts > 1) form = "named";
    }
    if (etag === undefined) {
      space.facts.drop(name);
      return undefined;
    }
    const { value: _, ...rest } = this.write.entry;
    const found = { head: { ...rest, state: "value" as const }, etag, seconds: undefined, bytes: size, form, past };
    space.facts.set(name, { ...found, sha256: sum, grave: false }, at);
    if (creates) this.created = etag;
    return STORED;
  }

  /** What may be taken for true without asking, because the server refuses the PUT if it is not. */
  private guess(): { readonly found: Found | undefined } | undefined {
    const { space, name, write } = this;
    if (space.abilities.put === "none") return undefined;
    const found = space.facts.recent(name);
    if (found !== undefined) return { found };
    const small = (write.entry.value?.length ?? 0) <= GUESS_BYTES_MAX;
    return space.expects.nothing && small ? { found: undefined } : undefined;
  }

  private async look(): Promise<Found | undefined> {
    const { space, call, write, name } = this;
    const { key } = write.entry;
    try {
      const found = await look(space, call, key, name);
      space.expects.nothing = found === undefined;
      return found;
    } catch (error) {
      if (!(error instanceof SyncError) || error.code !== "CORRUPT" || write.if !== undefined) throw error;
      // What it held is lost already: any unconditional write replaces it.
      const reply = await head(space.client, call, name, key);
      if (reply === undefined) return undefined;
      const lost = { key, state: "stub", version: VERSION_ZERO, expires: null, meta: {} } as const;
      const etag = unquoted(reply.headers["etag"] ?? "");
      return {
        head: lost,
        etag,
        seconds: undefined,
        bytes: 0,
        form: "plain",
        sha256: undefined,
        past: [],
        grave: false,
      };
    }
  }

  private async pause(): Promise<void> {
    const { runtime } = this.space;
    this.call.check();
    await sleep(runtime, 1 + randomBelow(runtime, WAIT_MS_MAX), this.call.options.signal).catch(() => {});
    this.call.check();
  }
}

/** A plain body has the value's sum: it need not be made twice. */
function summed({ headers, form, sha256 }: Made): Readonly<Record<string, string>> {
  return form === "plain" && sha256 !== undefined ? { ...headers, [SUM]: sha256 } : headers;
}

/**
 * The pieces, of which the last is held back until it is known to be the last: a server that has got as many bytes as it
 * was told stores them, whatever else comes.
 *
 * @param sum SHA-256 that they must have, where the server is not told it: it knows that of a whole object only.
 */
async function* exactly(
  size: number,
  sum: string | undefined,
  pieces: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  const hash = sum === undefined ? undefined : createHash("sha256");
  let held: Uint8Array | undefined;
  let bytes = 0;
  for await (const piece of pieces) {
    bytes += piece.length;
    if (bytes > size) break;
    hash?.update(piece);
    if (held !== undefined) yield held;
    held = piece;
  }
  if (bytes !== size || (hash !== undefined && hash.digest("hex") !== sum)) throw wrongBytes();
  if (held !== undefined) yield held;
}

async function md5Of(pieces: AsyncIterable<Uint8Array>): Promise<string> {
  const hash = createHash("md5");
  for await (const piece of pieces) hash.update(piece);
  return hash.digest("hex");
}

async function* one(body: Uint8Array): AsyncGenerator<Uint8Array> {
  yield body;
}
