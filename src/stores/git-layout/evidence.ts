import { judge, tick } from "./adopt.ts";
import type { Unadopted } from "./adopt.ts";
import type { History } from "./history.ts";
import type { Naming } from "./names.ts";
import { parseRecord, recordPath } from "./record.ts";
import { hasLiteralPlace } from "./scan.ts";
import type { Candidate } from "./scan.ts";
import { filesAtPaths, locate } from "./snapshot.ts";
import type { Known, Pending } from "./snapshot.ts";
import { recordNamesAt } from "./side.ts";

/** From so many keys on, one listing of the side tree is cheaper than asking for each record. */
const LISTING_FROM = 2_000;

export interface Search {
  readonly naming: Naming;
  readonly commit: string;
  /** Speaks of `commit`. Keys that turn out to have a record, or to need one, leave its touches. */
  readonly history: History;
  /** Whether the commit has a side tree. */
  readonly side: boolean;
  /** The keys that persons were the last to touch, each once. */
  readonly candidates: readonly Candidate[];
  /** What was provisional before. */
  readonly before: ReadonlyMap<string, Pending>;
}

/** Which of the candidates have no version, and what they are shown as until they have one. */
export async function findUnadopted(
  search: Search,
): Promise<{ items: Unadopted[]; provisional: Map<string, Pending> }> {
  const { naming, commit, history, before } = search;
  const provisional = new Map<string, Pending>();
  const items: Unadopted[] = [];
  const worth = await worthALook(search);
  const paths = worth.flatMap(({ name }) => [recordPath(name, "value"), recordPath(name, "deleted")]);
  const here = await filesAtPaths(naming, commit, paths);
  const ids = worth.map(({ records }) => [...records]);
  const past = await naming.repository.contents(ids.flat());
  let next = 0;
  const parsed = worth.map((candidate, i) => {
    const found = [here[2 * i], here[2 * i + 1]].filter((object) => object !== undefined);
    const records = found.flatMap(({ bytes }) => parseRecord(bytes) ?? []);
    const olds = (ids[i] ?? []).flatMap(() => {
      const object = past[next++];
      return object === undefined ? [] : (parseRecord(object.bytes) ?? []);
    });
    const key = candidate.key ?? records[0]?.key ?? olds[0]?.key;
    return { candidate, key, records, damaged: records.length < found.length, olds };
  });
  const named = parsed.flatMap((item) => (item.key === undefined ? [] : [{ ...item, key: item.key }]));
  const files = await locate(
    naming,
    { commit, history },
    named.map(({ key }) => key),
  );
  for (const [i, { candidate, key, records, damaged, olds }] of named.entries()) {
    const file = files[i]?.id;
    const versions = olds.map(({ version }) => version);
    const earlier = before.get(key);
    if (earlier !== undefined) versions.push(earlier.base);
    const wasForgotten = candidate.wasForgotten || history.forgotten.has(candidate.name);
    const verdict = judge({ key, file, records, versions, damaged, wasForgotten });
    if (verdict === "unrecorded") {
      keepTouch(history, key, file !== undefined);
      continue;
    }
    history.touches.delete(key);
    if (verdict === "settled") continue;
    items.push(verdict);
    provisional.set(key, pendingOf(verdict, records[0]?.state, candidate.node));
  }
  return { items, provisional };
}

/** The candidates that have, or had, more than the log to describe them. In a repository that Sync never wrote: none. */
async function worthALook({ naming, commit, history, side, candidates, before }: Search): Promise<Candidate[]> {
  const listed = side && candidates.length > LISTING_FROM ? await recordNamesAt(naming, commit) : undefined;
  return candidates.filter(({ name, records, wasForgotten, key }) => {
    if (records.size > 0 || wasForgotten || history.forgotten.has(name)) return true;
    if (key !== undefined && before.has(key)) return true;
    if (key !== undefined && history.touches.get(key)?.state === "deleted" && hasLiteralPlace(key)) return true;
    return listed === undefined ? side : listed.has(name);
  });
}

/** A deletion at one place leaves the key where another place has a file of it. */
function keepTouch({ touches }: History, key: string, present: boolean): void {
  const touch = touches.get(key);
  if (touch?.state === "deleted" && present) touches.set(key, { ...touch, state: "present" });
}

function pendingOf(
  { key, state, file, base, meta, storage }: Unadopted,
  recorded: Known["recorded"],
  node: string,
): Pending {
  const version = tick(base, node);
  const head = { key, state, version, expires: null, meta };
  return {
    head,
    blob: file ?? null,
    tag: `pending.${version}`,
    recorded,
    base,
    node,
    ...(storage === undefined ? {} : { storage }),
  };
}
