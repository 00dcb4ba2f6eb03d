import { afterAll, describe, test, vi } from "vitest";
import { conformance } from "microsync/testing";
import { s3 } from "../../src/stores/s3.ts";
import type { S3Options } from "../../src/stores/s3.ts";
import { systemRuntime } from "../../src/system.ts";
import { reachable } from "../servers/apt.ts";
import { radosgw } from "../servers/radosgw.ts";

const runtime = systemRuntime;
/** A thousand requests, four times, on a machine that is busy with other tests. */
const PATIENCE_MS = 110_000;
vi.setConfig({ testTimeout: PATIENCE_MS + 10_000 });
const ceph = await reachable(radosgw);

if ("missing" in ceph) {
  test(`radosgw is not tested: ${ceph.missing}`, (context) => context.skip(ceph.missing));
} else {
  const { server } = ceph;
  afterAll(() => server.stop());
  let buckets = 0;
  conformance({
    name: "s3 on Ceph's radosgw",
    runner: { describe, test, afterAll },
    batchBound: 1_000,
    patienceMs: PATIENCE_MS,
    runs: 20,
    open: async () => {
      const options: S3Options = {
        runtime,
        bucket: `conformance-${buckets++}`,
        endpoint: server.url,
        credentials: server,
        create: true,
        valueBytesMax: 6 * 1024 * 1024,
        multipartBytes: 5 * 1024 * 1024,
      };
      return { store: await s3(options), runtime, reopen: () => s3(options) };
    },
  });
}
