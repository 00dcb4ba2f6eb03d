/**
 * How long a write that a node has acknowledged takes to be in the memory of a process above it, through one level and
 * through two, over loopback; and how many changes a second the feed brings. docs/performance.md has the figures.
 *
 *     npm run bench:feed -- [--json] [--writes COUNT] [--changes COUNT]
 */
import { fork } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { chain } from "../src/chain/chain.ts";
import { layer } from "../src/chain/layer.ts";
import type { LayerSpec } from "../src/chain/layer.ts";
import { NO_META } from "../src/entry.ts";
import { nodeOver } from "../src/node/node.ts";
import { listen } from "../src/node/server/listen.ts";
import type { Write } from "../src/store.ts";
import { http } from "../src/stores/http.ts";
import { memory } from "../src/stores/memory.ts";
import { systemRuntime as runtime } from "../src/system.ts";
import { versionClock } from "../src/version.ts";

const { values: flags } = parseArgs({
  options: {
    json: { type: "boolean", default: false },
    writes: { type: "string", default: "1000" },
    changes: { type: "string", default: "50000" },
    /** Of a process that this one starts: a node, over the node at this URL or over memory. */
    node: { type: "boolean", default: false },
    over: { type: "string" },
  },
});
const WRITES = Number(flags.writes);
const CHANGES = Number(flags.changes);
const BATCH = 500;
const VALUE = new TextEncoder().encode("x".repeat(180));

interface Figures {
  readonly levels: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly changesPerSecond: number;
}

async function chainOf(layers: readonly LayerSpec[]) {
  return chain(layers, { runtime, clock: await versionClock({ runtime }), collectIntervalMs: 0 });
}

async function serve(): Promise<void> {
  const slots = memory({ runtime, changesMax: 100_000 });
  const layers = flags.over === undefined ? [layer(slots)] : [layer(slots), layer(await http(flags.over, { runtime }))];
  const layered = await chainOf(layers);
  await layered.ready();
  const { url } = await listen(nodeOver(layered), { port: 0 });
  process.send?.(url);
}

async function startNode(over: string | undefined): Promise<{ readonly url: string; readonly child: ChildProcess }> {
  const args = ["--node", ...(over === undefined ? [] : ["--over", over])];
  const child = fork(fileURLToPath(import.meta.url), args);
  const [url] = (await once(child, "message")) as [string];
  return { url, child };
}

async function measure(levels: number): Promise<Figures> {
  const children: ChildProcess[] = [];
  let below: string | undefined;
  let first = "";
  for (let level = 0; level < levels; level++) {
    const { url, child } = await startNode(below);
    children.push(child);
    if (below === undefined) first = url;
    below = url;
  }
  const source = await http(first, { runtime });
  const store = await http(below ?? "", { runtime });
  const slots = memory({ runtime });
  const near = await chainOf([layer(slots), layer(store)]);
  const clock = await versionClock({ runtime });
  try {
    await near.ready();
    const writeOf = async (key: string): Promise<Write> => {
      const entry = {
        key,
        state: "value" as const,
        value: VALUE,
        version: await clock.stamp(),
        expires: null,
        meta: NO_META,
      };
      return { entry, asOf: runtime.now() };
    };
    const write = slots.write.bind(slots);
    let onWritten: (versions: ReadonlySet<string>) => void = () => undefined;
    slots.write = async (writes, options) => {
      const results = await write(writes, options);
      onWritten(new Set(writes.flatMap(({ entry }) => (entry.state === "value" ? entry.version : []))));
      return results;
    };
    await source.write([await writeOf("k")]);
    // A read that the news of the write overtook fills nothing.
    while (near.look("k") === undefined) await near.read(["k"]);
    const times: number[] = [];
    for (let i = 0; i < WRITES; i++) {
      const next = await writeOf("k");
      const arrived = new Promise<number>((resolve) => {
        onWritten = (versions) => {
          if (versions.has(next.entry.version)) resolve(runtime.monotonic());
        };
      });
      await source.write([next]);
      const acknowledged = runtime.monotonic();
      times.push(Math.max(0, (await arrived) - acknowledged));
    }
    times.sort((a, b) => a - b);
    const at = (share: number) => times[Math.min(times.length - 1, Math.floor(times.length * share))] ?? 0;
    return { levels, p50Ms: at(0.5), p99Ms: at(0.99), changesPerSecond: await rate() };

    async function rate(): Promise<number> {
      const control = new AbortController();
      let told = 0;
      let begun = () => {};
      const current = new Promise<void>((resolve) => (begun = resolve));
      const following = (async () => {
        for await (const change of store.watch({ prefix: "" }, { initial: false, signal: control.signal })) {
          if (change.kind === "relist") throw new Error(`the feed fell behind: ${change.reason}`);
          if (change.kind === "current") begun();
          if (change.kind === "change" && ++told === CHANGES) return;
        }
      })();
      await current;
      const from = runtime.monotonic();
      for (let sent = 0; sent < CHANGES; sent += BATCH) {
        const keys = Array.from({ length: Math.min(BATCH, CHANGES - sent) }, (_, i) => `c/${sent + i}`);
        await source.write(await Promise.all(keys.map(writeOf)));
      }
      await following;
      return (CHANGES * 1000) / (runtime.monotonic() - from);
    }
  } finally {
    await near.close();
    await source.close();
    for (const child of children) child.kill();
  }
}

if (flags.node) await serve();
else {
  const figures = [await measure(1), await measure(2)];
  if (flags.json) console.log(JSON.stringify(figures));
  else {
    console.log("levels  p50 ms  p99 ms  changes/s");
    for (const { levels, p50Ms, p99Ms, changesPerSecond } of figures) {
      const cells = [String(levels), p50Ms.toFixed(2), p99Ms.toFixed(2), changesPerSecond.toFixed(0)];
      console.log(cells.map((cell, i) => cell.padStart([6, 6, 6, 9][i] ?? 0)).join("  "));
    }
  }
}
