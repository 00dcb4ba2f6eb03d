import { afterAll, beforeAll, describe, expect, it, test } from "vitest";
import { conformance } from "microsync/testing";
import { etcdMissing } from "../servers/etcd-missing.ts";
import { startEtcd } from "../servers/etcd.ts";
import type { EtcdCluster, EtcdMember } from "../servers/etcd.ts";
import { Watching, entry, openAt, put, runtime, versions } from "./etcd/world.ts";

/** What npm's etcd3 1.1.2 took here was 5.4 s; the goal is below 2. */
const STALL_MS_MAX = 2000;

describe.skipIf(etcdMissing !== undefined)("a cluster of three", () => {
  let cluster: EtcdCluster;
  let stores = 0;
  beforeAll(async () => {
    cluster = await startEtcd({ members: 3 });
  });
  afterAll(() => cluster.close());

  conformance({
    name: "etcd on three members",
    runner: { describe, test, afterAll },
    seed: 3,
    runs: 3,
    async open() {
      const where = `${cluster.endpoints}/three/${stores++}`;
      return { store: await openAt(where), runtime, reopen: () => openAt(where) };
    },
  });

  const leader = async (): Promise<EtcdMember> => {
    const leads = await Promise.all(cluster.members.map((member) => member.metric("etcd_server_is_leader")));
    const member = cluster.members[leads.indexOf(1)];
    if (member === undefined) throw new Error("there is no leader");
    return member;
  };

  /** One write after the other while something happens; what was acknowledged, and the longest that one took. */
  const writingWhile = async (where: string, happen: (written: () => Promise<void>) => Promise<void>) => {
    const store = await openAt(where);
    const watch = new Watching(store);
    await watch.current();
    const acknowledged: ReturnType<typeof entry>[] = [];
    let longestMs = 0;
    let failed = 0;
    const phase = { writing: true };
    let wake: () => void = () => undefined;
    const writer = (async () => {
      for (let i = 0; phase.writing; i++) {
        const item = entry(`k${i}`);
        const started = runtime.monotonic();
        const [result] = await store.write([{ entry: item, asOf: 0 }]).catch(() => []);
        longestMs = Math.max(longestMs, runtime.monotonic() - started);
        if (result?.status === "stored") acknowledged.push(item);
        else failed++;
        wake();
      }
    })();
    const next = () =>
      new Promise<void>((resolve) => {
        wake = resolve;
      });
    const written = async () => {
      const until = acknowledged.length + 30;
      while (acknowledged.length < until) await next();
    };
    await written();
    await happen(written);
    phase.writing = false;
    await writer;
    await watch.untilAll(acknowledged);
    const keys = acknowledged.map(({ key }) => key);
    expect(await versions(store, keys)).toEqual(acknowledged.map(({ version }) => version));
    await watch.end();
    await store.close();
    return { longestMs, failed, acknowledged: acknowledged.length };
  };

  /** The endpoints with one of them first: which is where the store begins. */
  const beginningAt = (first: EtcdMember): string =>
    [first, ...cluster.members.filter((member) => member !== first)].map(({ endpoint }) => endpoint).join(",");

  // Mutation: attemptMs without end: the write then waits for etcd's own 5 s and more.
  it.each([
    ["the leader itself", true],
    ["another member", false],
  ])("stalls for less than 2 s when the leader is killed and the store speaks to %s", async (_, toLeader) => {
    const dead = await leader();
    const other = cluster.members.find((member) => member !== dead);
    const where = `${beginningAt(toLeader ? dead : (other ?? dead))}/leader/${stores++}`;
    const { longestMs, failed, acknowledged } = await writingWhile(where, async (written) => {
      await dead.kill();
      try {
        await written();
      } finally {
        await dead.restart();
      }
    });
    console.log(`leader killed: longest stall ${Math.round(longestMs)} ms, ${acknowledged} writes, ${failed} failed`);
    expect(failed).toBe(0);
    expect(longestMs).toBeLessThan(STALL_MS_MAX);
  });

  it("goes to another member when the one it speaks to hangs", async () => {
    const frozen = await leader();
    const where = `${beginningAt(frozen)}/frozen/${stores++}`;
    const { longestMs, failed } = await writingWhile(where, async (written) => {
      frozen.freeze();
      try {
        await written();
      } finally {
        frozen.thaw();
      }
    });
    expect(failed).toBe(0);
    expect(longestMs).toBeLessThan(STALL_MS_MAX * 2);
  });

  // Mutation: "hasleader" left out of the stream in connection.ts: the watch of a lone member is silent for ever.
  it("ends a watch of a member that has no leader any more, with a cursor to go on from", async () => {
    const [first, second, third] = cluster.members as [EtcdMember, EtcdMember, EtcdMember];
    const where = `lone/${stores++}`;
    // Its patience is over as soon as it is told: where else it could go does not matter here.
    const store = await openAt(`${third.endpoint}/${where}`, { timeoutMs: 3000 });
    const watch = new Watching(store);
    await watch.current();
    await Promise.all([first.kill(), second.kill()]);
    try {
      expect(await watch.ended).toMatchObject({ retryable: true });
    } finally {
      await Promise.all([first.restart(), second.restart()]);
    }
    const other = await openAt(`${cluster.endpoints}/${where}`);
    const after = entry("after");
    while ((await other.write([{ entry: after, asOf: 0 }]).catch(() => []))[0]?.status !== "stored");
    const again = new Watching(other, "", { cursor: watch.cursor });
    await again.untilAll([after]);
    await again.end();
    await Promise.all([store.close(), other.close()]);
  });

  it("says UNAVAILABLE or TIMEOUT without a majority, acknowledges nothing, and goes on with one", async () => {
    const store = await openAt(`${cluster.endpoints}/minority`, { timeoutMs: 1500, attemptMs: 300 });
    await put(store, [entry("before")]);
    const [first, second] = cluster.members;
    await Promise.all([first?.kill(), second?.kill()]);
    const lost = entry("during");
    await expect(store.write([{ entry: lost, asOf: 0 }])).rejects.toMatchObject({ retryable: true });
    await expect(store.read(["before"])).rejects.toMatchObject({ retryable: true });
    await Promise.all([first?.restart(), second?.restart()]);
    const after = entry("after");
    while ((await store.write([{ entry: after, asOf: 0 }]).catch(() => []))[0]?.status !== "stored");
    expect((await versions(store, ["before", "after"])).every((version) => version !== undefined)).toBe(true);
    await store.close();
  });
});
