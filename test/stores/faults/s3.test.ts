import { s3 } from "../../../src/stores/s3.ts";
import { systemRuntime as runtime } from "../../../src/system.ts";
import { reachable } from "../../servers/apt.ts";
import { radosgw } from "../../servers/radosgw.ts";
import { faultsOf } from "./matrix.ts";

const KEYS = { accessKeyId: "AKFAULTS", secretAccessKey: "SKs3cret" };
const CONCURRENCY = 4;

faultsOf("S3 on Ceph's gateway", async () => {
  const ceph = await reachable(radosgw);
  if ("missing" in ceph) return ceph;
  const { server } = ceph;
  const keys = ["--access-key", KEYS.accessKeyId, "--secret-key", KEYS.secretAccessKey];
  await server.admin("user", "create", "--uid", "faults", "--display-name", "faults", ...keys);
  return {
    target: `127.0.0.1:${server.port}`,
    layerMs: 2_000,
    secrets: [KEYS.accessKeyId, KEYS.secretAccessKey],
    connectionsMax: CONCURRENCY,
    url: (endpoint, space) =>
      `s3://${KEYS.accessKeyId}:${KEYS.secretAccessKey}@faults-${space}/?endpoint=http://${endpoint}&concurrency=${CONCURRENCY}&timeout=1s`,
    open: (endpoint, space) =>
      s3({
        runtime,
        bucket: `faults-${space}`,
        endpoint: `http://${endpoint}`,
        credentials: KEYS,
        create: true,
        concurrency: CONCURRENCY,
        attempts: 2,
      }),
    async restart(meanwhile) {
      await server.kill();
      await meanwhile();
      await server.restart();
    },
    async revoke() {
      const key = ["--uid", "faults", "--key-type", "s3", "--access-key", KEYS.accessKeyId];
      await server.admin("key", "rm", ...key);
      return async () => void (await server.admin("key", "create", ...key, "--secret-key", KEYS.secretAccessKey));
    },
    async fill() {
      await server.admin("quota", "set", "--quota-scope=user", "--uid=faults", "--max-size=4096");
      await server.admin("quota", "enable", "--quota-scope=user", "--uid=faults");
      return async () => void (await server.admin("quota", "disable", "--quota-scope=user", "--uid=faults"));
    },
    close: () => server.stop(),
  };
});
