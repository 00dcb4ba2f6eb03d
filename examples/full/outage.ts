import type { Sync } from "microsync";
import { timed } from "../start/durations.ts";
import { until } from "../start/person.ts";
import type { Mortal } from "./servers.ts";

/** A server that was killed, what was written meanwhile, and how it all arrived. */
export interface OutageReport {
  readonly server: string;
  /** The writes that were made while it was down, each acknowledged when it was on this machine's disk. */
  readonly writes: number;
  readonly ackMs: number;
  /** A read meanwhile, of a key that memory had. */
  readonly readMs: number;
  /** How many entries the journal kept for layers then. */
  readonly waiting: number;
  /** From its first answer until every layer had everything. */
  readonly caughtUpMs: number;
  /** Of the keys that were written, those that some store lacks at the end of the tour. */
  readonly lost: number;
}

export interface Outage {
  readonly server: Mortal;
  readonly db: Sync;
  /** What has the bucket, and its own journal. */
  readonly beside: Sync;
  readonly writes: number;
  /** A key that is in memory. */
  readonly known: string;
  readonly signal: AbortSignal;
}

/** How long a server that came back may take until it has what it missed. */
const PATIENCE_MS = 60_000;

/** The keys that an outage writes. */
export function outageKeys(server: string, writes: number): string[] {
  return Array.from({ length: writes }, (_, i) => `outage/${server.toLowerCase().replaceAll(" ", "-")}/${i}`);
}

export async function outage({
  server,
  db,
  beside,
  writes,
  known,
  signal,
}: Outage): Promise<Omit<OutageReport, "lost">> {
  const keys = outageKeys(server.name, writes);
  const value = { note: `written while ${server.name} was down` };
  await server.kill();
  const [, ackMs] = await timed(() => Promise.all(keys.map((key) => db.set(key, value, { ack: "journal" }))));
  const [found, readMs] = await timed(() => db.get(known));
  if (found === undefined) throw new Error(`${known} has no value while ${server.name} is down`);
  const waiting = waitingIn(db) + waitingIn(beside);
  await server.restart();
  const [, caughtUpMs] = await timed(async () => {
    await arrived(db, signal);
    await until(async () => (await beside.getMany(keys)).size === keys.length, PATIENCE_MS);
    await arrived(beside, signal);
  });
  return { server: server.name, writes, ackMs, readMs, waiting, caughtUpMs };
}

/** Whether every layer but memory, which may forget, has the newest version of a key. */
export async function everywhere(db: Sync, key: string): Promise<boolean> {
  const layers = (await db.where(key)).filter(({ layer }) => layer !== "memory");
  const versions = layers.map((answer) => (answer.state === "has" ? answer.version : answer.state));
  return versions.length > 0 && new Set(versions).size === 1 && layers[0]?.state === "has";
}

/** A flush ends at once when a layer fails; here it is known to be coming back. */
async function arrived(db: Sync, signal: AbortSignal): Promise<void> {
  let reason: unknown;
  const isThere = await until(async () => {
    signal.throwIfAborted();
    reason = await db.flush({ timeoutMs: PATIENCE_MS, signal }).then(
      () => undefined,
      (error: unknown) => error,
    );
    return reason === undefined;
  }, PATIENCE_MS);
  if (!isThere) throw reason;
}

function waitingIn(db: Sync): number {
  return db.status().layers.reduce((sum, { pending }) => sum + pending, 0);
}
