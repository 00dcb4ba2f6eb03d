import { afterAll, describe, expect, it, test } from "vitest";
import { conformance } from "microsync/testing";
import { s3 } from "../../src/stores/s3.ts";
import type { S3Options } from "../../src/stores/s3.ts";
import { systemRuntime } from "../../src/system.ts";
import { reachable } from "../servers/apt.ts";
import { swift } from "../servers/swift.ts";

const runtime = systemRuntime;
const openstack = await reachable(swift);

if ("missing" in openstack) {
  test(`swift is not tested: ${openstack.missing}`, (context) => context.skip(openstack.missing));
} else {
  const { server } = openstack;
  afterAll(() => server.stop());
  let buckets = 0;
  const optionsOf = (): S3Options => ({
    runtime,
    bucket: `conformance-${buckets++}`,
    prefix: "some/where/",
    endpoint: server.url,
    credentials: server,
    create: true,
    valueBytesMax: 6 * 1024 * 1024,
    multipartBytes: 5 * 1024 * 1024,
  });

  conformance({
    name: "s3 without conditional writes, on OpenStack Swift",
    runner: { describe, test, afterAll },
    batchBound: 10,
    runs: 5,
    open: async () => {
      const options = optionsOf();
      return { store: await s3(options), runtime, reopen: () => s3(options) };
    },
  });

  describe("an endpoint without conditional writes", () => {
    // Mutation: the probe takes "not implemented" for a success, or for a failure of opening.
    it("is found out when the store is opened", async () => {
      const store = await s3(optionsOf());
      expect(store.supports).toMatchObject({ conditional: false, writers: "one" });
      await store.close();
    });
  });
}
