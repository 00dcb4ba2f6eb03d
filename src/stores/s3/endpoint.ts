import { SyncError } from "../../error.ts";

/** Where a bucket is and how it is spoken to. */
export interface Endpoint {
  /** `https://host:port`, without a path. */
  readonly origin: string;
  /** Before the name of an object, `/` at the end. */
  readonly path: string;
  readonly region: string;
  /** How many requests are under way at once by default. */
  readonly concurrency: number;
}

export interface EndpointOptions {
  readonly bucket: string;
  /** `https://host[:port]`. Default: AWS in `region`. */
  readonly endpoint?: string | undefined;
  /** Default: what the host says, else `us-east-1`. */
  readonly region?: string | undefined;
  /** "host": `bucket.host/name`, "path": `host/bucket/name`. Default: what the host is known to want, else "path". */
  readonly addressing?: "host" | "path" | undefined;
}

interface Preset {
  readonly hosts: RegExp;
  readonly addressing: "host" | "path";
  /** From the match of `hosts`. */
  readonly region: (match: RegExpExecArray) => string;
  readonly concurrency: number;
}

const REGION_ELSEWHERE = "us-east-1";

/** What hosts are known to want. Each value can be overridden. */
const PRESETS: readonly Preset[] = [
  {
    hosts: /^s3[.-](?:dualstack\.)?([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?$/,
    addressing: "host",
    region: ([, region = REGION_ELSEWHERE]) => region,
    concurrency: 32,
  },
  { hosts: /^s3\.amazonaws\.com$/, addressing: "host", region: () => REGION_ELSEWHERE, concurrency: 32 },
  {
    // Spaces allows 1,500 requests a second to an address, and fewer to older buckets.
    hosts: /^([a-z0-9]+)\.digitaloceanspaces\.com$/,
    addressing: "host",
    region: ([, region = REGION_ELSEWHERE]) => region,
    concurrency: 16,
  },
  {
    hosts: /^[a-z0-9.]+\.r2\.cloudflarestorage\.com$/,
    addressing: "path",
    region: () => "auto",
    concurrency: 32,
  },
  // Ceph's gateway and everything else: a host name for each bucket needs DNS that is rarely there.
  { hosts: /.*/, addressing: "path", region: () => REGION_ELSEWHERE, concurrency: 16 },
];

const BUCKET = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/;

/** @throws SyncError INVALID for a bucket or an endpoint that cannot be one. */
export function endpointOf({ bucket, endpoint, region, addressing }: EndpointOptions): Endpoint {
  if (!BUCKET.test(bucket)) {
    throw new SyncError("INVALID", `${JSON.stringify(bucket.slice(0, 64))} is not the name of a bucket`, {
      store: "s3",
      cure: "a bucket has 3 to 63 of a-z, 0-9, - and .",
    });
  }
  const url = parse(endpoint ?? `https://s3.${region ?? REGION_ELSEWHERE}.amazonaws.com`);
  const [preset, match] = presetOf(url.hostname);
  const wanted = addressing ?? preset.addressing;
  // A certificate for *.host does not cover a bucket with dots.
  const asHost = wanted === "host" && (addressing === "host" || url.protocol === "http:" || !bucket.includes("."));
  return {
    origin: `${url.protocol}//${asHost ? `${bucket}.` : ""}${url.host}`,
    path: asHost ? "/" : `/${bucket}/`,
    region: region ?? preset.region(match),
    concurrency: preset.concurrency,
  };
}

function presetOf(host: string): [Preset, RegExpExecArray] {
  for (const preset of PRESETS) {
    const match = preset.hosts.exec(host);
    if (match !== null) return [preset, match];
  }
  throw new SyncError("INTERNAL", `no preset for ${host}`);
}

function parse(endpoint: string): URL {
  const wrong = (what: string) =>
    new SyncError("INVALID", `the endpoint ${what}`, {
      store: "s3",
      cure: "write it as https://host or https://host:port",
    });
  if (!URL.canParse(endpoint)) throw wrong("is not a URL");
  const url = new URL(endpoint);
  if (url.protocol !== "https:" && url.protocol !== "http:") throw wrong("is neither https: nor http:");
  if (url.username !== "" || url.password !== "") throw wrong("holds credentials, which belong elsewhere");
  if (url.pathname !== "/" || url.search !== "" || url.hash !== "") throw wrong("has a path");
  return url;
}

/** An object's name as part of a URL: every byte but the unreserved ones and `/` escaped, as the signature has it. */
export function encodeName(name: string): string {
  return encodeURIComponent(name)
    .replaceAll("%2F", "/")
    .replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
}
