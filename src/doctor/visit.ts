import { NO_META } from "../entry.ts";
import type { Entry } from "../entry.ts";
import type { Runtime } from "../runtime.ts";
import type { Answer, CallOptions, Listed, ReadOptions, Store, Supports, Write, WriteResult } from "../store.ts";
import { SyncError } from "../error.ts";
import type { VersionClock } from "../version.ts";
import type { Note, Figures, StepId } from "./finding.ts";
import type { OpenPatient } from "./patient.ts";
import type { Touched } from "./touched.ts";

/** What a check found, apart from how long it took. */
export interface Said {
  /** In a line. */
  readonly what: string;
  readonly notes?: readonly Note[];
  readonly figures?: Figures | undefined;
  /** It could not be tried. */
  readonly skipped?: boolean;
}

/** One check of an open store. */
export interface Step {
  readonly id: StepId;
  /** Whether it writes, and is left out where nothing may be written. */
  readonly writes: boolean;
  /** @throws SyncError what the store throws: the check has failed then. */
  run(visit: Visit): Promise<Said>;
}

/** What the checks of one store share. */
export interface Visit {
  readonly runtime: Runtime;
  /** The store, and the same opened once more where that means anything: another process's view of it. */
  readonly clients: readonly [Store, ...Store[]];
  readonly patient: OpenPatient;
  readonly supports: Supports;
  /** Below it nothing is anybody else's. Ends with a slash. */
  readonly prefix: string;
  readonly touched: Touched;
  readonly versions: VersionClock;
  /** Signal and deadline of the check that is being made. */
  readonly call: CallOptions;
  readonly readonly: boolean;
}

export function clientOf({ clients }: Visit, index: number): Store {
  return clients[index % clients.length] ?? clients[0];
}

/** An entry below the prefix, with a version above all before. */
export async function entryOf(
  { prefix, versions }: Pick<Visit, "prefix" | "versions">,
  name: string,
  value: string | Uint8Array,
  expires: number | null = null,
): Promise<Entry> {
  const bytes = typeof value === "string" ? new TextEncoder().encode(value) : value;
  const version = await versions.stamp();
  return { key: prefix + name, state: "value", value: bytes, version, expires, meta: NO_META };
}

/** Writes in one call, remembering what to remove. */
export async function write(
  visit: Visit,
  entries: readonly Entry[],
  condition?: Write["if"],
  store: Store = visit.clients[0],
): Promise<WriteResult[]> {
  const asOf = visit.runtime.now();
  const writes = entries.map((entry) => ({ entry, asOf, ...(condition === undefined ? {} : { if: condition }) }));
  visit.touched.add(entries);
  const results = await store.write(writes, visit.call);
  if (results.length !== entries.length) throw new SyncError("INTERNAL", "a write has not one result for each entry");
  return results;
}

/** As {@link write}, for one. */
export async function writeOne(
  visit: Visit,
  entry: Entry,
  condition?: Write["if"],
  store?: Store,
): Promise<WriteResult> {
  const [result] = await write(visit, [entry], condition, store);
  return result as WriteResult;
}

/** Writes what nothing stands in the way of. @throws SyncError when the store did not store it. */
export async function put(visit: Visit, entries: readonly Entry[], store?: Store): Promise<void> {
  for (const batch of batches(entries, visit.supports.batchMax)) {
    for (const result of await write(visit, batch, undefined, store)) {
      if (result.status === "failed") throw result.error;
      if (result.status !== "stored") {
        throw new SyncError("INTERNAL", `a new version of a key that nobody else has was ${result.status}`);
      }
    }
  }
}

/** The newest there is, asked of the system itself and not of what the store has kept. */
export async function read(visit: Visit, keys: readonly string[], store: Store = visit.clients[0]): Promise<Answer[]> {
  const options: ReadOptions = { ...visit.call, authority: true };
  const answers: Answer[] = [];
  for (const batch of batches(keys, visit.supports.batchMax)) answers.push(...(await store.read(batch, options)));
  if (answers.length !== keys.length) throw new SyncError("INTERNAL", "a read has not one answer for each key");
  return answers;
}

export async function readOne(visit: Visit, key: string, store?: Store): Promise<Entry | undefined> {
  const [answer] = await read(visit, [key], store);
  return answer?.entry;
}

/** At most `limit` of a list. @throws SyncError also for a list that is partial, which no store's is. */
export async function listed(
  { clients, call }: Pick<Visit, "clients" | "call">,
  prefix: string,
  limit: number,
  after?: string,
): Promise<Extract<Listed, { kind: "entry" }>[]> {
  const found: Extract<Listed, { kind: "entry" }>[] = [];
  for await (const item of clients[0].list({ prefix }, { ...call, limit, after, detail: "entries" })) {
    if (item.kind === "partial") throw item.error;
    found.push(item);
    if (found.length > limit) break; // a store that does not know a limit
  }
  return found;
}

export function* batches<T>(items: readonly T[], size: number): Generator<readonly T[]> {
  const step = Math.max(1, Math.min(size, items.length));
  for (let at = 0; at < items.length; at += step) yield items.slice(at, at + step);
}

/** Whether the store holds exactly this entry. */
export function holds(found: Entry | undefined, entry: Entry): boolean {
  return found?.version === entry.version && found.state === entry.state && found.expires === entry.expires
    ? sameBytes(found.value, entry.value)
    : false;
}

function sameBytes(a: Uint8Array | null, b: Uint8Array | null): boolean {
  if (a === null || b === null) return a === b;
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

/** What a write came to, in a word. */
export function outcomeOf(result: WriteResult): string {
  return result.status === "failed" ? `failed with ${result.error.code}` : result.status;
}
