import { systemRuntime as runtime } from "../../../src/system.ts";
import { vi } from "vitest";
import { githubWorld } from "../github/world.ts";
import { faultsOf } from "./matrix.ts";

const TOKEN = "tok_s3cret";
const CONNECTIONS = 4;

faultsOf("GitHub", async () => {
  const world = await githubWorld();
  const { server } = world;
  server.tokens.set(TOKEN, "write");
  vi.stubEnv("GITHUB_TOKEN", TOKEN);
  const repos = new Set<string>();
  const repo = (space: string) => {
    if (!repos.has(space)) server.create("octo", space);
    repos.add(space);
    return `github:octo/${space}#main`;
  };
  return {
    target: `127.0.0.1:${server.port}`,
    layerMs: 2_000,
    secrets: [TOKEN],
    // To the API, and as many to the LFS server.
    connectionsMax: 2 * CONNECTIONS,
    url: (endpoint, space) => `${repo(space)}?api=http://${endpoint}&connectionsMax=${CONNECTIONS}&timeout=1s`,
    open: (endpoint, space) =>
      world.open(repo(space), {
        token: TOKEN,
        api: `http://${endpoint}`,
        connectionsMax: CONNECTIONS,
        timeoutMs: 3_000,
      }),
    restart: (meanwhile) => server.restart(meanwhile),
    revoke() {
      server.tokens.delete(TOKEN);
      return Promise.resolve(() => Promise.resolve(void server.tokens.set(TOKEN, "write")));
    },
    /** What GitHub has a quota of is requests. */
    fill() {
      server.fault = () => {
        const reset = String(Math.floor(runtime.now() / 1000) + 1);
        const headers = { "x-ratelimit-remaining": "0", "x-ratelimit-reset": reset };
        return { status: 403, headers, body: { message: "API rate limit exceeded" } };
      };
      return Promise.resolve(async () => {
        server.fault = () => undefined;
      });
    },
    async close() {
      vi.unstubAllEnvs();
      await world.close();
    },
  };
});
