import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { git } from "../../../src/stores/git/index.ts";
import { systemRuntime as runtime } from "../../../src/system.ts";
import { gitServer } from "../../servers/git-server.ts";
import { scratch } from "../git/place.ts";
import { mounted } from "./disk.ts";
import { faultsOf } from "./matrix.ts";

const PASSWORD = "git-s3cret";
const DISK_BYTES = 48 * 1024 * 1024;

faultsOf("git over HTTP", async () => {
  const disk = mounted("microsync-faults-git-", DISK_BYTES);
  const place = scratch();
  const folder = "folder" in disk ? disk.folder : place.folder;
  let server = await gitServer(folder);
  const { port } = server;
  server.user = `app:${PASSWORD}`;
  const repos = new Set<string>();
  let caches = 0;
  const url = (endpoint: string, space: string) => {
    const bare = join(folder, `${space}.git`);
    if (!repos.has(space)) {
      execFileSync("git", ["init", "--quiet", "--bare", "--initial-branch=main", bare]);
      execFileSync("git", ["-C", bare, "config", "http.receivepack", "true"]);
      execFileSync("git", ["-C", bare, "config", "receive.autogc", "false"]);
    }
    repos.add(space);
    return `git:http://app:${PASSWORD}@${endpoint}/${space}.git#main`;
  };
  return {
    target: `127.0.0.1:${port}`,
    layerMs: 6_000,
    secrets: [PASSWORD],
    connectionsMax: 4,
    url: (endpoint, space) => `${url(endpoint, space)}?cacheFolder=${place.path(`cache${caches++}`)}&timeout=1s`,
    open: (endpoint, space) =>
      git(url(endpoint, space), { runtime, cacheFolder: place.path(`cache${caches++}`), timeoutMs: 5_000 }),
    async restart(meanwhile) {
      await server.close();
      await meanwhile();
      server = await gitServer(folder, port);
      server.user = `app:${PASSWORD}`;
    },
    revoke() {
      server.user = "app:another";
      return Promise.resolve(() => Promise.resolve(void (server.user = `app:${PASSWORD}`)));
    },
    fill() {
      if ("missing" in disk) return Promise.resolve(disk);
      disk.fill();
      return Promise.resolve(() => Promise.resolve(disk.empty()));
    },
    async close() {
      await server.close();
      await place.remove();
      if ("folder" in disk) disk.remove();
    },
  };
});
