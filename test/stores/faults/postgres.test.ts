import { spawnSync } from "node:child_process";
import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { sql } from "../../../src/stores/sql.ts";
import { systemRuntime as runtime } from "../../../src/system.ts";
import { postgresServer } from "../../servers/postgres.ts";
import { mounted } from "./disk.ts";
import { faultsOf } from "./matrix.ts";

const PASSWORD = "pg-s3cret";
const DISK_BYTES = 64 * 1024 * 1024;

faultsOf("PostgreSQL", async () => {
  const server = await postgresServer({
    prepare(folder) {
      const rules = ["host all sync 127.0.0.1/32 trust", "host all all 127.0.0.1/32 scram-sha-256"];
      writeFileSync(join(folder, "pg_hba.conf"), `local all all trust\n${rules.join("\n")}\n`);
    },
  });
  if (server === undefined) return { missing: "no PostgreSQL can be had" };
  await server.query(`CREATE ROLE app LOGIN PASSWORD '${PASSWORD}'`);
  await server.query("GRANT ALL ON SCHEMA public TO app");
  // The tables lie on a disk of their own, which can be full: with the server's, the log of its writes would be too.
  const disk = mounted("microsync-faults-pg-", DISK_BYTES);
  if ("folder" in disk) {
    chmodSync(disk.folder, 0o700);
    spawnSync("chown", ["postgres", disk.folder]);
    await server.query(`CREATE TABLESPACE small LOCATION '${disk.folder}'`);
    await server.query("GRANT CREATE ON TABLESPACE small TO app");
    await server.query("ALTER ROLE app SET default_tablespace = small");
    // So small a disk is soon full of what is already dead.
    await server.query("ALTER SYSTEM SET autovacuum_naptime = '1s'");
    await server.query("SELECT pg_reload_conf()");
  }
  const url = (endpoint: string, space: string) =>
    `postgres://app:${PASSWORD}@${endpoint}/postgres?table=${space}&create=true`;
  return {
    target: `127.0.0.1:${server.port}`,
    layerMs: 1_000,
    secrets: [PASSWORD],
    // The pool, and one that listens.
    connectionsMax: 4 + 1,
    url: (endpoint, space) => `${url(endpoint, space)}&connections=4&timeout=1s`,
    open: (endpoint, space) =>
      sql(`postgres://app:${PASSWORD}@${endpoint}/postgres`, {
        runtime,
        create: true,
        table: space,
        connections: 4,
        timeoutMs: 3_000,
      }),
    async restart(meanwhile) {
      server.stop("immediate");
      await meanwhile();
      server.start();
    },
    async revoke() {
      await server.query("ALTER ROLE app NOLOGIN");
      await server.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'");
      return async () => void (await server.query("ALTER ROLE app LOGIN"));
    },
    async fill() {
      if ("missing" in disk) return disk;
      disk.fill();
      return () => Promise.resolve(disk.empty());
    },
    async close() {
      server.close();
      if ("folder" in disk) disk.remove();
    },
  };
});
