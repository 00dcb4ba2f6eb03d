import { createHash } from "node:crypto";
import { layer } from "../../../src/chain/layer.ts";
import { Refused } from "../../../src/node/grants.ts";
import { readTokens, tokenDoor } from "../../../src/node/server/tokens.ts";
import { http } from "../../../src/stores/http.ts";
import { chaos, referenceState, referenceStore } from "../../../src/testing/index.ts";
import type { ChaosStore } from "../../../src/testing/index.ts";
import { runtime, serve } from "../http/world.ts";
import type { Served } from "../http/world.ts";
import { faultsOf } from "./matrix.ts";

const TOKEN = "node-s3cret";

faultsOf("http", async () => {
  const state = referenceState();
  const hash = createHash("sha256").update(TOKEN).digest("hex");
  const door = tokenDoor(readTokens(`app sha256:${hash} read,write`, "tokens"));
  let isRevoked = false;
  const authorise = (request: Request) => {
    if (isRevoked) throw new Refused(401, "the token is not known here");
    return door(request);
  };
  let source: ChaosStore;
  let served: Served;
  const begin = async (port: number) => {
    const supports = { durable: true, shared: true };
    source = chaos(referenceStore({ runtime, name: "truth", state, supports }), { runtime, seed: 1 });
    served = await serve([layer(source)], { node: { name: "far", authorise }, listen: { port } });
  };
  await begin(0);
  const { port } = served!.server;
  const url = (endpoint: string) => `http://${TOKEN}@${endpoint}/`;
  return {
    target: `127.0.0.1:${port}`,
    layerMs: 1_000,
    secrets: [TOKEN],
    // Two for calls and one for the feed; the command line's own store has the default of calls, and uses one at a time.
    connectionsMax: 3,
    url,
    open: (endpoint) => http(url(endpoint), { runtime, timeoutMs: 2_000, connectionsMax: 2, heartbeatMs: 200 }),
    async restart(meanwhile) {
      await served.server.stop(0);
      await served.chain.close();
      await meanwhile();
      await begin(port);
    },
    revoke() {
      isRevoked = true;
      return Promise.resolve(() => {
        isRevoked = false;
        return Promise.resolve();
      });
    },
    fill() {
      source.down(["write"]);
      return Promise.resolve(() => {
        source.up();
        return Promise.resolve();
      });
    },
    close: () => served.close(),
  };
});
