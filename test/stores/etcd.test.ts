import { afterAll, beforeAll, describe, test } from "vitest";
import { conformance } from "microsync/testing";
import { etcd } from "../../src/stores/etcd.ts";
import { systemRuntime } from "../../src/system.ts";
import { etcdMissing } from "../servers/etcd-missing.ts";
import { startEtcd } from "../servers/etcd.ts";
import type { EtcdCluster } from "../servers/etcd.ts";

const runtime = systemRuntime;

describe.skipIf(etcdMissing !== undefined)("on a real etcd", () => {
  let cluster: EtcdCluster;
  let stores = 0;
  beforeAll(async () => {
    cluster = await startEtcd();
  });
  afterAll(() => cluster.close());

  conformance({
    name: "etcd",
    runner: { describe, test, afterAll },
    async open() {
      const open = () => etcd(`etcd://${cluster.endpoints}/suite/${prefix}`, { runtime, env: {} });
      const prefix = stores++;
      return { store: await open(), runtime, reopen: open };
    },
  });

  conformance({
    name: "etcd as a cache",
    runner: { describe, test, afterAll },
    seed: 2,
    runs: 20,
    async open() {
      const prefix = stores++;
      const open = () => etcd(`etcd://${cluster.endpoints}/cache/${prefix}`, { runtime, env: {}, role: "cache" });
      return { store: await open(), runtime, reopen: open };
    },
  });
});
