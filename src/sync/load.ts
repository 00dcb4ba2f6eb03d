import { ackOptions, written } from "./call.ts";
import type { Engine, Loaded } from "./engine.ts";
import type { Kept, Lens } from "./lens.ts";
import { ask } from "./reading.ts";
import type { SetOptionsOfLoad } from "./types.ts";
import { callOptions, waitFor } from "./wait.ts";
import { checkDraft, draftOf, entryOf } from "./writing.ts";

type Load = () => unknown;

/**
 * The value of a key that has none yet, loaded once however many ask. Each caller waits by its own signal and deadline;
 * the load goes on for the others.
 */
export function loadOnce(
  engine: Engine,
  lens: Lens,
  key: string,
  load: Load,
  options: SetOptionsOfLoad,
): Promise<Kept | undefined> {
  const call = callOptions(engine.runtime, options);
  const flights = flightsOf(engine, lens);
  let flight = flights.get(key);
  if (flight === undefined) {
    flight = loadNow(engine, lens, key, load, options);
    flights.set(key, flight);
    const over = () => void flights.delete(key);
    flight.then(over, over);
  }
  return waitFor(engine.runtime, flight, call, "getOrSet", key).then((loaded) =>
    loaded === undefined ? undefined : engine.hold.ofAnswer(loaded.entry, lens),
  );
}

function flightsOf({ loads }: Engine, lens: Lens): Map<string, Promise<Loaded | undefined>> {
  let flights = loads.get(lens);
  if (flights === undefined) loads.set(lens, (flights = new Map()));
  return flights;
}

async function loadNow(
  engine: Engine,
  lens: Lens,
  key: string,
  load: Load,
  options: SetOptionsOfLoad,
): Promise<Loaded | undefined> {
  const { signal: _signal, timeoutMs: _timeoutMs, ...shared } = options; // those are one caller's, the load is everybody's
  const ack = ackOptions(engine.chain, engine.runtime, shared);
  const live = await ask(engine, key, { freshness: options.freshness });
  if (live !== undefined) return live;

  // Stamped before the load: a set or delete that happens meanwhile is newer than what the load had seen, and wins.
  const asOf = engine.runtime.now();
  const version = await engine.clock.stamp();
  const value = await load();
  if (value === undefined) return undefined;
  const draft = draftOf(engine, lens, key, value, shared);
  if (lens.schema !== undefined) await checkDraft(lens, draft);
  const entry = entryOf(draft, version);
  const results = await engine.chain.write([{ entry, asOf }], ack);
  const loaded = { entry, from: "" };
  if (written(entry, results[0], "getOrSet").supersededBy === undefined) return loaded;
  // Deleted meanwhile: what was loaded answers this call and is not stored.
  return (await ask(engine, key, undefined)) ?? loaded;
}
