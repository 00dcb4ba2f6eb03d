import { afterAll, expect, it } from "vitest";
import { chain } from "../../src/chain/chain.ts";
import { layer } from "../../src/chain/layer.ts";
import { http } from "../../src/stores/http.ts";
import { memory } from "../../src/stores/memory.ts";
import { versionClock } from "../../src/version.ts";
import { truth } from "../node/world.ts";
import { startProxy } from "../servers/proxy.ts";
import { runtime, serve } from "./http/world.ts";

const closes: (() => Promise<unknown>)[] = [];

afterAll(async () => {
  for (const close of closes.toReversed()) await close();
});

// Mutations: no interruption told (feed.ts); gaps not opened (carry.ts); the gap not closed at "current".
it("a feed that is swallowed on its way makes copies suspect until it stands again", async () => {
  const far = await serve([layer(memory({ runtime })), layer(truth(runtime))]);
  const proxy = await startProxy(far.server.port);
  let failed = () => {};
  const broken = new Promise<void>((resolve) => (failed = resolve));
  const store = await http(`http://${proxy.endpoint}/`, { runtime, heartbeatMs: 2_000 });
  const slots = memory({ runtime });
  const near = chain([layer(slots), layer(store)], {
    runtime,
    clock: await versionClock({ runtime }),
    collectIntervalMs: 0,
    onReport: ({ kind }) => {
      if (kind === "watch-failed") failed();
    },
  });
  closes.push(
    () => proxy.close(),
    () => far.close(),
    () => near.close(),
  );
  await near.ready();
  /** Resolves when the near memory is given the value. */
  const arrival = (value: string) =>
    new Promise<void>((resolve) => {
      const write = slots.writeNow.bind(slots);
      slots.writeNow = (writes) => {
        const results = write(writes);
        if (writes.some(({ entry }) => textOf(entry.value) === value)) resolve();
        return results;
      };
    });
  const put = (value: string) => fetch(`${far.server.url}/v1/kv/k`, { method: "PUT", body: value });
  const look = () => textOf(near.look("k")?.entry.value);
  const read = async () => textOf((await near.read(["k"]))[0]?.entry?.value);
  await put("one");
  // A read that the news of the write overtook fills nothing.
  while (look() === undefined) expect(await read()).toBe("one");

  proxy.swallow("/v1/changes");
  await put("two");
  await broken;
  expect(look()).toBeUndefined();
  expect(await read()).toBe("two");

  proxy.swallow(undefined);
  for (const value of ["three", "four"]) {
    const arrived = arrival(value);
    await put(value);
    await arrived;
  }
  // What was missed is told before it.
  expect(look()).toBe("four");
}, 60_000);

function textOf(value: Uint8Array | null | undefined): string | undefined {
  return value === null || value === undefined ? undefined : new TextDecoder().decode(value);
}
