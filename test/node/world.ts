import { chain } from "../../src/chain/chain.ts";
import type { Chain, ChainOptions } from "../../src/chain/chain.ts";
import { layer } from "../../src/chain/layer.ts";
import type { LayerSpec } from "../../src/chain/layer.ts";
import { nodeOver } from "../../src/node/node.ts";
import type { NodeOptions, SyncNode } from "../../src/node/node.ts";
import type { Problem } from "../../src/protocol.ts";
import type { Runtime } from "../../src/runtime.ts";
import type { Supports } from "../../src/store.ts";
import { memory } from "../../src/stores/memory.ts";
import { simulatedFiles } from "../../src/testing/files.ts";
import { referenceStore, simulatedRuntime } from "../../src/testing/index.ts";
import type { SimulatedRuntime } from "../../src/testing/index.ts";
import { versionClock } from "../../src/version.ts";

export const drain = () => new Promise<void>((resolve) => setImmediate(resolve));

export interface World {
  readonly runtime: SimulatedRuntime;
  readonly chain: Chain;
  readonly node: SyncNode;
  /** Asks the handler, without a socket. */
  readonly ask: (path: string, init?: RequestInit) => Promise<Response>;
  /** The same, with a little time for it. */
  readonly page: (path: string, init?: RequestInit) => Promise<Response>;
  readonly put: (key: string, value: string, headers?: Record<string, string>) => Promise<Response>;
}

export interface WorldOptions {
  readonly seed?: number;
  /** Default: a new one. */
  readonly runtime?: SimulatedRuntime;
  readonly node?: NodeOptions;
  readonly chain?: Partial<ChainOptions>;
  readonly layers?: (runtime: SimulatedRuntime) => LayerSpec[];
}

/** A node over memory and a source of truth, in simulated time. */
export async function world(options: WorldOptions = {}): Promise<World> {
  const runtime = options.runtime ?? simulatedRuntime({ seed: options.seed ?? 1, drain });
  const clock = await versionClock({ runtime });
  const layers = options.layers?.(runtime) ?? [layer(memory({ runtime })), layer(truth(runtime))];
  const own = { spool: simulatedFiles({ seed: 1 }), collectIntervalMs: 0, ...options.chain };
  const layered = chain(layers, { runtime, clock, ...own });
  const node = nodeOver(layered, { name: "here", ...options.node });
  const ask = (path: string, init?: RequestInit) => node.fetch(new Request(`http://node.test${path}`, init));
  const page = async (path: string, init?: RequestInit) => {
    const answer = ask(path, init);
    await runtime.advance(10);
    return answer;
  };
  const put = (key: string, body: string, headers: Record<string, string> = {}) => {
    return ask(`/v1/kv/${encodeURIComponent(key)}`, { method: "PUT", body, headers });
  };
  return { runtime, chain: layered, node, ask, page, put };
}

export function truth(runtime: Runtime, name = "truth", supports: Partial<Supports> = {}) {
  return referenceStore({ runtime, name, supports: { durable: true, shared: true, ...supports } });
}

export async function problemOf(response: Response): Promise<Problem> {
  if (response.headers.get("content-type") !== "application/problem+json") throw new Error(await response.text());
  return (await response.json()) as Problem;
}
