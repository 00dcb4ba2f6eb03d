/**
 * Wrong answers: what a cache says after a race, after its second layer was down, or after a program has changed an
 * object of its own. Every step is decided by the second layer, which holds a read back or fails when told to; no step
 * waits for another by the clock.
 */
import type { Cache, Candidate } from "./candidate.ts";
import { Second } from "./second.ts";

export const SCENARIOS = ["stale", "returned", "undeleted", "lost", "missed", "altered"] as const;
export type Scenario = (typeof SCENARIOS)[number];

/** "wrong", or what it did instead; "-": the cache has no such thing. */
export type Verdict = "right" | "says so" | "wrong" | "-";
export type Answers = Readonly<Record<Scenario, Verdict>>;

const KEY = "user-1";
const OLD = { key: KEY, name: "old" };
const NEW = { key: KEY, name: "new" };
/** Turns of the event loop within which all that a cache does in the background is over: the second layer takes one. */
const TURNS = 50;

export async function answers(candidate: Candidate): Promise<Answers> {
  return {
    stale: await stale(candidate),
    returned: await returned(candidate),
    undeleted: await undeleted(candidate),
    lost: await lost(candidate),
    missed: await missed(candidate),
    altered: await altered(candidate),
  };
}

/** A read that began before a write ends after it. The old value may answer that read, and no later one. */
async function stale(candidate: Candidate): Promise<Verdict> {
  if (candidate.layers === "memory") return "-";
  const { cache, late } = await overtaken(candidate, (one) => one.set(KEY, NEW));
  const value = await late();
  await cache.close();
  return nameOf(value) === "new" ? "right" : "wrong";
}

/** The same with a delete. The key must stay deleted. */
async function returned(candidate: Candidate): Promise<Verdict> {
  if (candidate.layers === "memory") return "-";
  const { cache, late } = await overtaken(candidate, (one) => one.delete?.(KEY));
  const value = await late();
  await cache.close();
  return isNothing(value) ? "right" : "wrong";
}

/** A delete while the second layer is down. If it is told as done, the key must not be there when the layer is back. */
async function undeleted(candidate: Candidate): Promise<Verdict> {
  if (candidate.layers === "memory") return "-";
  const second = await withOld(candidate);
  const cache = await candidate.open(second, true);
  await cache.get(KEY);
  second.down = true;
  const told = await outcome(() => cache.delete?.(KEY));
  second.down = false;
  if (told === "refused") return closed(cache, "says so");
  await (cache.settle?.() ?? turns());
  const value = await cache.get(KEY);
  return closed(cache, isNothing(value) && isNothing(await elsewhere(candidate, second)) ? "right" : "wrong");
}

/** A write while the second layer is down. If it is told as done, another process must find it when the layer is back. */
async function lost(candidate: Candidate): Promise<Verdict> {
  if (candidate.layers === "memory") return "-";
  const second = await withOld(candidate);
  const cache = await candidate.open(second, true);
  await cache.get(KEY);
  second.down = true;
  const told = await outcome(() => cache.set(KEY, NEW));
  second.down = false;
  if (told === "refused") return closed(cache, "says so");
  await (cache.settle?.() ?? turns());
  return closed(cache, nameOf(await elsewhere(candidate, second)) === "new" ? "right" : "wrong");
}

/** A read while the second layer is down. That there is no value is not known, so it may not be the answer. */
async function missed(candidate: Candidate): Promise<Verdict> {
  const second = await withOld(candidate);
  const cache = await candidate.open(second, true);
  second.down = true;
  let answered: unknown;
  try {
    answered = await (cache.through ?? cache.get)(KEY);
  } catch {
    return closed(cache, "says so");
  } finally {
    second.down = false;
  }
  return closed(cache, isNothing(answered) ? "wrong" : "right");
}

/** A program changes the object that it has set, and then the one that it is given. What was set must be read all the same. */
async function altered(candidate: Candidate): Promise<Verdict> {
  if (candidate.layers === "memory") return "-";
  const cache = await candidate.open(new Second(), true);
  const own = { ...OLD };
  await cache.set(KEY, own);
  own.name = "changed";
  const given = await cache.get(KEY);
  const names = [nameOf(given)];
  // A frozen object lets nobody change it.
  if (typeof given === "object" && given !== null) Reflect.set(given, "name", "changed");
  names.push(nameOf(await cache.get(KEY)));
  return closed(cache, names.every((name) => name === "old") ? "right" : "wrong");
}

async function closed(cache: Cache, verdict: Verdict): Promise<Verdict> {
  await cache.close();
  return verdict;
}

/** A second layer that holds the old value as this candidate writes it. */
async function withOld(candidate: Candidate): Promise<Second> {
  const second = new Second();
  if (candidate.layers === "memory") {
    await second.set(KEY, OLD);
    return second;
  }
  const writer = await candidate.open(second, true);
  await writer.set(KEY, OLD);
  await turns();
  await writer.close();
  await nextMillisecond();
  return second;
}

/** Of two processes that write within one millisecond neither is the later one: what is changed next shall be it. */
async function nextMillisecond(): Promise<void> {
  const written = Date.now();
  while (Date.now() <= written) await new Promise(setImmediate);
}

/** Starts a read, holds it back once it has seen the old value, lets `change` go first, and then the read. */
async function overtaken(candidate: Candidate, change: (cache: Cache) => unknown) {
  const second = await withOld(candidate);
  const cache = await candidate.open(second, true);
  const held = second.holdRead();
  const read = Promise.resolve(cache.get(KEY)).catch(() => undefined);
  await held.reached;
  const changed = outcome(() => change(cache));
  // Some caches let a write wait for a read of the same key: then it comes after it, which is as good.
  await Promise.race([changed, turns()]);
  held.release();
  await Promise.all([read, changed]);
  await turns();
  return { cache, late: () => cache.get(KEY) };
}

/** What a process with an empty memory reads. */
async function elsewhere(candidate: Candidate, second: Second): Promise<unknown> {
  const other = await candidate.open(second, true);
  const value = await other.get(KEY);
  await other.close();
  return value;
}

/** Whether a change was told as done. A `false` is a refusal too. */
async function outcome(change: () => unknown): Promise<"done" | "refused"> {
  try {
    return (await change()) === false ? "refused" : "done";
  } catch {
    return "refused";
  }
}

async function turns(): Promise<void> {
  for (let i = 0; i < TURNS; i++) await new Promise<void>((resolve) => setImmediate(resolve));
}

function isNothing(value: unknown): boolean {
  return value === undefined || value === null;
}

function nameOf(value: unknown): unknown {
  return typeof value === "object" && value !== null && "name" in value ? value.name : undefined;
}
