import type { LayerOptions, Role } from "../chain/layer.ts";
import type { SystemClock } from "../doctor/clock.ts";
import { SyncError } from "../error.ts";
import type { Report } from "../chain/chain.ts";
import type { Runtime } from "../runtime.ts";
import type { Store } from "../store.ts";
import type { VersionClock } from "../version.ts";
import { nearest } from "./nearest.ts";
import type { StoreUrl } from "./url.ts";
import type { OptionKind, OptionValue } from "./values.ts";

/** What opens the URLs of one scheme. Its code is imported when the first such URL is opened. */
export interface Scheme {
  /** Without the colon. */
  readonly name: string;
  /** One URL, for messages. */
  readonly example: string;
  /** The layer's role when the URL does not say; the last layer of a chain is a store always. */
  readonly role: Role;
  /** Its data outlives the process: a chain with such a layer keeps the bound of its clock in a file. */
  readonly durable: boolean;
  /** The store's own options; those that every layer takes (`ttl`, `role`, …) come on top. */
  readonly options: Readonly<Record<string, OptionKind>>;
  /** @throws SyncError; nothing it created is left behind then. */
  open(url: StoreUrl, values: ReadonlyMap<string, OptionValue>, context: OpenContext): Promise<Opened>;
}

export interface OpenContext {
  readonly runtime: Runtime;
  readonly clock: VersionClock;
  /** The folder that relative paths are relative to. */
  readonly base: string;
  /** For what a store has to say that no call can return. */
  readonly report: (report: Report) => void;
}

export interface Opened {
  readonly store: Store;
  /** What the layer is given unless its URL says otherwise. */
  readonly layer?: LayerOptions;
  /** Takes back what opening created, after `close`: a later layer could not be opened. */
  readonly undo?: () => Promise<void>;
  /** The clock of the system behind the store, for those who compare clocks. Left out: the system tells no time. */
  readonly clock?: SystemClock;
  /** How many requests the system was sent so far, where somebody counts or is charged for them. */
  readonly requests?: () => number;
  /** Every write stays in a history that people read, so that nothing is to be written just for trying. */
  readonly keepsHistory?: boolean;
}

/** The schemes by name. */
export type Schemes = ReadonlyMap<string, Scheme>;

/** Those that are built in, and one's own: `open(urls, { schemes: schemesWith(mine) })`. */
export function schemesWith(...more: readonly Scheme[]): Schemes {
  return new Map([...BUILT_IN, ...more].map((scheme) => [scheme.name, scheme]));
}

/** @throws SyncError INVALID, naming the known ones. */
export function schemeOf(schemes: Schemes, url: StoreUrl): Scheme {
  const scheme = schemes.get(url.scheme);
  if (scheme !== undefined) return scheme;
  const known = [...schemes.keys()];
  const guess = nearest(url.scheme, known);
  throw new SyncError("INVALID", `${url.text}: there is no store of scheme ${url.scheme}:`, {
    cure: `${guess === undefined ? "" : `do you mean ${guess}:? `}known are ${known.map((name) => `${name}:`).join(" ")}`,
  });
}

const MEMORY: Scheme = {
  name: "memory",
  example: "memory:?bytesMax=64mb",
  role: "cache",
  durable: false,
  options: { bytesMax: "size", entriesMax: "count", expiredKeep: "duration" },
  async open(url, values, { runtime }) {
    if (url.place !== "") {
      const cure = `write ${MEMORY.example}`;
      throw new SyncError("INVALID", `${url.text}: memory has no place`, { cure });
    }
    const { memory } = await import("../stores/memory.ts");
    const store = memory({
      runtime,
      bytesMax: values.get("bytesMax") as number | undefined,
      entriesMax: values.get("entriesMax") as number | undefined,
      expiredKeepMs: values.get("expiredKeep") as number | undefined,
    });
    return { store };
  },
};

const LMDB: Scheme = {
  name: "lmdb",
  example: "lmdb:./.sync/cache",
  role: "cache",
  durable: true,
  options: { bytesMax: "size", create: "flag" },
  async open(url, values, context) {
    const { openLmdb } = await import("./open-lmdb.ts");
    return openLmdb(url, values, context);
  },
};

const FILE: Scheme = {
  name: "file",
  example: "file:./data",
  role: "store",
  durable: true,
  options: { create: "flag", durable: "flag" },
  async open(url, values, context) {
    const { openFile } = await import("./open-file.ts");
    return openFile(url, values, context);
  },
};

const GIT: Scheme = {
  name: "git",
  example: "git:./truth.git#main:data",
  role: "store",
  durable: true,
  options: {
    create: "flag",
    cacheFolder: "text",
    fresh: "duration",
    timeout: "duration",
    lfs: "flag",
    lfsAboveBytes: "size",
    lfsUrl: "text",
  },
  async open(url, values, context) {
    const { openGit } = await import("./open-git.ts");
    return openGit(url, values, context);
  },
};

const SQL_OPTIONS: Scheme["options"] = {
  table: "text",
  create: "flag",
  metaIndex: "flag",
  connections: "count",
  timeout: "duration",
  notify: "flag",
  expiredKeep: "duration",
  host: "text",
  sslmode: ["disable", "require", "verify-ca", "verify-full"],
  sslrootcert: "text",
  sslcert: "text",
  sslkey: "text",
  application_name: "text",
};

/** One store under the names that its systems' own URLs have. */
const SQL = ["postgres", "postgresql", "cockroach"].map((name): Scheme => {
  return {
    name,
    example: `${name}://user@host/database?table=sync`,
    role: "store",
    durable: true,
    options: SQL_OPTIONS,
    async open(url, values, context) {
      const { openSql } = await import("./open-sql.ts");
      return openSql(url, values, context);
    },
  };
});

const S3: Scheme = {
  name: "s3",
  example: "s3://bucket/data/?region=eu-central-1",
  role: "store",
  durable: true,
  options: {
    endpoint: "text",
    region: "text",
    addressing: ["host", "path"],
    profile: "text",
    accessKeyId: "text",
    secretAccessKey: "text",
    sessionToken: "text",
    ca: "text",
    create: "flag",
    conditions: ["probe", "quoted", "unquoted", "none"],
    concurrency: "count",
    attempts: "count",
    timeout: "duration",
    multipartBytes: "size",
    largestValue: "size",
    poll: "duration",
    watchKeysMax: "count",
  },
  async open(url, values, context) {
    const { openS3 } = await import("./open-s3.ts");
    return openS3(url, values, context);
  },
};

const GITHUB: Scheme = {
  name: "github",
  example: "github:owner/repo#main:data",
  role: "store",
  durable: true,
  options: {
    api: "text",
    create: "flag",
    cacheFolder: "text",
    fresh: "duration",
    timeout: "duration",
    connectionsMax: "count",
    keptBytesMax: "size",
    lfs: "flag",
    lfsAboveBytes: "size",
    lfsUrl: "text",
  },
  async open(url, values, context) {
    const { openGithub } = await import("./open-github.ts");
    return openGithub(url, values, context);
  },
};

const ETCD_OPTIONS = {
  tls: "flag",
  ca: "text",
  cert: "text",
  key: "text",
  timeout: "duration",
  attempt: "duration",
  keepAlive: "duration",
  keepAliveTimeout: "duration",
  inFlightMax: "count",
  requestBytesMax: "size",
  retention: "duration",
  copyTtl: "duration",
  bytesMax: "size",
  maintain: "flag",
} as const;

/** The last layer of a chain, and where nothing is said, keeps everything: forgetting is to be asked for. */
const ETCD: Scheme = {
  name: "etcd",
  example: "etcd://127.0.0.1:2379/app?role=cache&bytesMax=256mb",
  role: "store",
  durable: true,
  options: ETCD_OPTIONS,
  async open(url, values, context) {
    const { openEtcd } = await import("./open-etcd.ts");
    return openEtcd(url, values, context);
  },
};

const ETCDS: Scheme = { ...ETCD, name: "etcds", example: "etcds://etcd.example:2379/app?ca=./ca.pem" };

/** Another node: its whole chain is one layer here. */
const HTTP: Scheme = {
  name: "http",
  example: "http://TOKEN@127.0.0.1:7420/",
  role: "store",
  durable: true,
  options: {
    token: "text",
    ca: "text",
    timeout: "duration",
    hello: "duration",
    heartbeat: "duration",
    connections: "count",
  },
  async open(url, values, context) {
    const { openHttp } = await import("./open-http.ts");
    return openHttp(url, values, context);
  },
};

const HTTPS: Scheme = { ...HTTP, name: "https", example: "https://TOKEN@sync.example/" };

const BUILT_IN = [MEMORY, LMDB, GIT, GITHUB, FILE, S3, ...SQL, ETCD, ETCDS, HTTP, HTTPS];
