import { startEtcd } from "../../servers/etcd.ts";
import { etcdMissing } from "../../servers/etcd-missing.ts";
import { openAt, rawEtcd } from "../etcd/world.ts";
import { faultsOf } from "./matrix.ts";

const PASSWORD = "etcd-s3cret";
const ROOT = { name: "root", password: "root-s3cret" };
const QUICK = { attemptMs: 150, timeoutMs: 2_000 };

faultsOf("etcd", async () => {
  if (etcdMissing !== undefined) return { missing: etcdMissing };
  const cluster = await startEtcd({ args: [`--quota-backend-bytes=${24 * 1024 * 1024}`, "--bcrypt-cost=4"] });
  const [member] = cluster.members;
  if (member === undefined) throw new Error("there is no member");
  for (const [name, password] of [[ROOT.name, ROOT.password] as const, ["app", PASSWORD] as const]) {
    cluster.ctl("user", "add", `${name}:${password}`);
    cluster.ctl("role", "add", name);
    cluster.ctl("user", "grant-role", name, name);
  }
  cluster.ctl("role", "grant-permission", "app", "--prefix=true", "readwrite", "");
  cluster.ctl("auth", "enable");
  const asRoot = (...args: string[]) => cluster.ctl("--user", `${ROOT.name}:${ROOT.password}`, ...args);
  const url = (endpoint: string, space: string) => `etcd://app:${PASSWORD}@${endpoint}/${space}`;
  return {
    target: member.endpoint,
    layerMs: 1_000,
    secrets: [PASSWORD],
    connectionsMax: 2,
    url,
    open: (endpoint, space) => openAt(url(endpoint, space), QUICK),
    async restart(meanwhile) {
      await member.kill();
      await meanwhile();
      await member.restart();
    },
    revoke() {
      asRoot("user", "revoke-role", "app", "app");
      return Promise.resolve(async () => void asRoot("user", "grant-role", "app", "app"));
    },
    async fill() {
      const other = rawEtcd(cluster.endpoints, ROOT);
      const isFull = (error: unknown) => String(error).includes("quota");
      try {
        for (;;) await other.put("filler", crypto.getRandomValues(new Uint8Array(60_000)));
      } catch (error) {
        if (!isFull(error)) throw error;
      } finally {
        await other.close();
      }
      return async () => {
        const revision = /"revision":(\d+)/.exec(asRoot("endpoint", "status", "--write-out=json"))?.[1] ?? "";
        asRoot("compact", revision);
        asRoot("defrag");
        asRoot("alarm", "disarm");
      };
    },
    close: () => cluster.close(),
  };
});
