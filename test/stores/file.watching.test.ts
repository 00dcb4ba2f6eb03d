import { expect, it } from "vitest";
import { NO_META } from "../../src/entry.ts";
import type { Change } from "../../src/store.ts";
import { Watches } from "../../src/stores/file/watching.ts";
import type { Seen } from "../../src/stores/file/watching.ts";
import { systemRuntime as runtime } from "../../src/system.ts";
import { formatVersion } from "../../src/version.ts";

const version = formatVersion(1.7e12, 0, "00000000000000aa");

/** Until the watch is current, or has to be begun anew. */
async function told(watches: Watches, cursor?: string): Promise<readonly Change[]> {
  const changes: Change[] = [];
  for await (const change of watches.watch({ prefix: "" }, { cursor })) {
    changes.push(change);
    if (change.kind !== "change") break;
  }
  return changes;
}

// Mutations: what was removed is kept without a bound; what is dropped of it leaves no floor, and a cursor misses it.
it.each([
  [10_000, 10_000, "current"],
  [10_001, 0, "relist"],
])("of %i removals a cursor is told %i, then %s", async (count, removals, end) => {
  let there = Array.from({ length: count }, (_, i): Seen => {
    const key = `k${i}`;
    return { key, tag: "1", head: { key, state: "value", version, expires: null, meta: NO_META } };
  });
  const look = async function* () {
    await Promise.resolve();
    yield* there;
  };
  const watches = new Watches({ store: "file", runtime, look });
  const first = (await told(watches)).at(-1);
  expect(first?.kind).toBe("current");
  there = [];
  const changes = await told(watches, first?.kind === "current" ? first.cursor : undefined);
  expect(changes.filter((change) => change.kind === "change" && change.head === null)).toHaveLength(removals);
  expect(changes.at(-1)?.kind).toBe(end);
  watches.close();
});
