import { chain } from "../../../src/chain/chain.ts";
import type { Chain } from "../../../src/chain/chain.ts";
import { layer } from "../../../src/chain/layer.ts";
import type { LayerSpec } from "../../../src/chain/layer.ts";
import { nodeOver } from "../../../src/node/node.ts";
import type { NodeOptions, SyncNode } from "../../../src/node/node.ts";
import { askForHops, withHops } from "../../../src/node/server/hops.ts";
import { listen } from "../../../src/node/server/listen.ts";
import type { ListenOptions, Listening } from "../../../src/node/server/listen.ts";
import { http } from "../../../src/stores/http.ts";
import type { HttpOptions, HttpStore } from "../../../src/stores/http.ts";
import { memory } from "../../../src/stores/memory.ts";
import { systemRuntime } from "../../../src/system.ts";
import { simulatedFiles } from "../../../src/testing/files.ts";
import { versionClock } from "../../../src/version.ts";

export const runtime = systemRuntime;

export interface Served {
  readonly chain: Chain;
  readonly node: SyncNode;
  readonly server: Listening;
  /** Stops the server and closes the chain. */
  readonly close: () => Promise<void>;
}

/** A chain behind a real socket. */
export async function serve(
  specs: readonly LayerSpec[],
  options: { readonly node?: NodeOptions; readonly listen?: ListenOptions } = {},
): Promise<Served> {
  const clock = await versionClock({ runtime });
  const layered = chain(specs, { runtime, clock, spool: simulatedFiles({ seed: 1 }), collectIntervalMs: 0 });
  return serveChain(layered, options);
}

export async function serveChain(
  layered: Chain,
  options: { readonly node?: NodeOptions; readonly listen?: ListenOptions } = {},
): Promise<Served> {
  const node = nodeOver(layered, { within: withHops, ...options.node });
  const server = await listen(node, { port: 0, ...options.listen });
  const close = async () => {
    await server.stop(1_000);
    await layered.close();
  };
  return { chain: layered, node, server, close };
}

export function overMemory(): Promise<Served> {
  return serve([layer(memory({ runtime }))]);
}

/** A store of that node, which knows through which nodes a call comes. */
export function storeOf({ server }: Pick<Served, "server">, options: Partial<HttpOptions> = {}): Promise<HttpStore> {
  return http(server.url, { runtime, via: askForHops(), ...options });
}
