import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { SyncError } from "../../error.ts";

export interface Credentials {
  readonly name: string;
  readonly password: string;
}

/** Certificates and key, in PEM. */
export interface EtcdTls {
  /** Of the authority that signed the servers' certificates. Default: the platform's. */
  readonly ca?: Buffer | undefined;
  /** The client's own certificate and its key: both or none. */
  readonly cert?: Buffer | undefined;
  readonly key?: Buffer | undefined;
}

/** Where a cluster is and how to get in. Holds secrets: never shown. */
export interface EtcdAddress {
  /** `host:port` each. */
  readonly endpoints: readonly string[];
  /** What every key begins with. */
  readonly prefix: string;
  readonly user: Credentials | undefined;
  readonly tls: EtcdTls | undefined;
}

/** What may be said beside the URL; it goes before what the URL or the environment say. */
export interface AddressOptions {
  readonly user?: Credentials | undefined;
  /** True: with the platform's authorities. */
  readonly tls?: boolean | undefined;
  /** Files in PEM. */
  readonly ca?: string | undefined;
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
  /** What relative files are relative to. Default: the working directory. */
  readonly folder?: string | undefined;
  /** The variables of etcdctl that are read: see docs/stores/etcd.md. Default: the process's. */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined;
}

export const PREFIX_BYTES_MAX = 256;
const ENDPOINTS_MAX = 32;
const DEFAULT_PREFIX = "microsync";
const DEFAULT_PORT = "2379";
const CURE = "write etcd://host:2379,host:2379/prefix";

/**
 * `etcd://user:password@host:port,host:port/prefix`; `etcds://` speaks TLS. Parts that the URL leaves out come from the
 * environment, then from the defaults.
 * @throws SyncError INVALID, never with what may be a secret; NOT_FOUND or UNAVAILABLE for a file that cannot be read.
 */
export async function readAddress(url: string, options: AddressOptions = {}): Promise<EtcdAddress> {
  const env = options.env ?? process.env;
  const [, scheme, rest] = /^(etcds?):\/\/(.*)$/s.exec(url) ?? [];
  if (scheme === undefined || rest === undefined) throw wrong("the URL does not begin with etcd:// or etcds://");
  const slash = rest.indexOf("/");
  const authority = slash < 0 ? rest : rest.slice(0, slash);
  const at = authority.lastIndexOf("@");
  const written = authority.slice(at + 1).split(",");
  const named =
    written.length === 1 && written[0] === "" ? endpointsOf(env) : written.map((text) => ({ text, tls: false }));
  if (named.length > ENDPOINTS_MAX) throw wrong(`${named.length} endpoints are named, the limit is ${ENDPOINTS_MAX}`);
  const userinfo = at < 0 ? undefined : authority.slice(0, at);
  const secure = options.tls ?? (scheme === "etcds" || named.some(({ tls }) => tls));
  const tls = await readTls(secure, options, env);
  return {
    endpoints: named.map(({ text }) => endpoint(text)),
    prefix: prefixOf(slash < 0 ? "" : rest.slice(slash + 1)),
    user: options.user ?? userOf(userinfo, env),
    tls,
  };
}

type Env = Readonly<Record<string, string | undefined>>;

function endpointsOf(env: Env): { text: string; tls: boolean }[] {
  const listed = env["ETCDCTL_ENDPOINTS"];
  if (listed === undefined || listed.trim() === "") throw wrong("the URL names no host, nor does ETCDCTL_ENDPOINTS");
  return listed.split(",").map((text) => {
    const [, scheme, host = ""] = /^(?:(https?|unixs?):\/\/)?(.*?)\/?$/.exec(text.trim()) ?? [];
    if (scheme?.startsWith("unix") === true)
      throw wrong("ETCDCTL_ENDPOINTS names a unix socket, which is not supported");
    return { text: host, tls: scheme === "https" };
  });
}

function endpoint(text: string): string {
  const [, host = "", port = DEFAULT_PORT] = /^([\w.-]+|\[[0-9a-fA-F:.]+\])(?::(\d{1,5}))?$/.exec(text) ?? [];
  // The text itself is not shown: what was meant as a password may have ended up in it.
  if (host === "" || Number(port) < 1 || Number(port) > 65_535) throw wrong("an endpoint is not host:port");
  return `${host}:${port}`;
}

function prefixOf(path: string): string {
  let prefix: string;
  try {
    prefix = decodeURIComponent(path).replace(/^\/+|\/+$/g, "");
  } catch (cause) {
    throw new SyncError("INVALID", "the prefix has a broken % escape", { cure: "write % as %25", cause });
  }
  if (!prefix.isWellFormed() || new TextEncoder().encode(prefix).length > PREFIX_BYTES_MAX) {
    throw wrong(`the prefix has more than ${PREFIX_BYTES_MAX} bytes, or is not text`);
  }
  return prefix === "" ? DEFAULT_PREFIX : prefix;
}

function userOf(userinfo: string | undefined, env: Env): Credentials | undefined {
  if (userinfo !== undefined) {
    const colon = userinfo.indexOf(":");
    if (colon < 1) throw wrong("the URL names a user without a password");
    try {
      return {
        name: decodeURIComponent(userinfo.slice(0, colon)),
        password: decodeURIComponent(userinfo.slice(colon + 1)),
      };
    } catch {
      throw new SyncError("INVALID", "the URL's user or password has a broken % escape", { cure: "write % as %25" });
    }
  }
  const user = env["ETCDCTL_USER"] ?? env["ETCDCTL_USERNAME"];
  if (user === undefined || user === "") return undefined;
  const password = env["ETCDCTL_PASSWORD"];
  if (password !== undefined) return { name: user, password };
  const colon = user.indexOf(":");
  if (colon < 1) {
    const cure = "set ETCDCTL_USER to name:password, or ETCDCTL_PASSWORD too";
    throw new SyncError("INVALID", "the environment names a user without a password", { cure });
  }
  return { name: user.slice(0, colon), password: user.slice(colon + 1) };
}

async function readTls(secure: boolean, options: AddressOptions, env: Env): Promise<EtcdTls | undefined> {
  const given = options.ca ?? options.cert ?? options.key;
  if (given !== undefined && !secure) {
    throw new SyncError("INVALID", "certificates are given for a connection without TLS", {
      cure: "write etcds://, or tls=true",
    });
  }
  if (!secure) return undefined;
  const read = async (what: string, path: string | undefined) => {
    if (path === undefined || path === "") return undefined;
    try {
      return await readFile(resolve(options.folder ?? process.cwd(), path));
    } catch (cause) {
      const missing = cause instanceof Error && "code" in cause && cause.code === "ENOENT";
      const details = { cure: "correct the path, or its permissions", retryable: false, cause };
      throw new SyncError(missing ? "NOT_FOUND" : "UNAVAILABLE", `the file of ${what} cannot be read`, details);
    }
  };
  const [ca, cert, key] = await Promise.all([
    read("ca", options.ca ?? env["ETCDCTL_CACERT"]),
    read("cert", options.cert ?? env["ETCDCTL_CERT"]),
    read("key", options.key ?? env["ETCDCTL_KEY"]),
  ]);
  if ((cert === undefined) !== (key === undefined)) {
    throw new SyncError("INVALID", "a client certificate and its key go together", { cure: "give cert and key" });
  }
  return { ca, cert, key };
}

function wrong(what: string): SyncError {
  return new SyncError("INVALID", what, { cure: CURE });
}
