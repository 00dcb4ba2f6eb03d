import type { Runtime } from "../../runtime.ts";
import { FORMAT_ROW } from "./environment.ts";
import type { Environment } from "./environment.ts";
import { newEpoch } from "./log.ts";
import { integerKey, newState, stateFrom, stateRow } from "./rows.ts";

export const STATE_KEY = new TextEncoder().encode("state");

/** Makes the rows that every store has, in a new one. @throws SyncError CORRUPT for one whose state is damaged. */
export async function initialise(environment: Environment, runtime: Runtime, name: string): Promise<void> {
  const { tables } = environment;
  if (tables.about.get(STATE_KEY) !== undefined) {
    stateFrom(tables.about.get(STATE_KEY), name);
    return;
  }
  await environment.transaction(() => {
    if (tables.about.get(STATE_KEY) !== undefined) return; // another process was faster
    tables.about.put(FORMAT_ROW.key, FORMAT_ROW.value);
    tables.epochs.put(integerKey(0), newEpoch(runtime));
    tables.about.put(STATE_KEY, stateRow({ ...newState(), epochs: 1 }));
  });
}
