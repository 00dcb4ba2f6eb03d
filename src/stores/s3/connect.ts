import type { Budget } from "../../budget.ts";
import { SyncError } from "../../error.ts";
import type { Runtime } from "../../runtime.ts";
import { Client } from "./client.ts";
import { surroundings } from "./credentials.ts";
import type { Credentials } from "./credentials.ts";
import { endpointOf } from "./endpoint.ts";
import { transport } from "../wire/transport.ts";

export interface ConnectOptions {
  readonly runtime: Runtime;
  readonly bucket: string;
  /** For messages. Default "s3". */
  readonly name?: string | undefined;
  /** `https://host[:port]`. Default: `AWS_ENDPOINT_URL_S3`, the profile's, else AWS in `region`. */
  readonly endpoint?: string | undefined;
  /** Default: what the host says, `AWS_REGION`, the profile's, else `us-east-1`. */
  readonly region?: string | undefined;
  /** "host": `bucket.host/name`, "path": `host/bucket/name`. Default: what the host is known to want, else "path". */
  readonly addressing?: "host" | "path" | undefined;
  /** Default: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`, else a profile. */
  readonly credentials?: Credentials | undefined;
  /** A profile of `~/.aws/credentials` and `~/.aws/config`. Default: `AWS_PROFILE`, else "default". */
  readonly profile?: string | undefined;
  /** Certificates of authorities to trust, in PEM. Default: those of Node. */
  readonly ca?: string | undefined;
  /** How many requests are under way at once. Default: what suits the host, 16 or 32. At most 256. */
  readonly concurrency?: number | undefined;
  /** How long an answer may take, in milliseconds, large bodies more. Default 30,000. */
  readonly timeoutMs?: number | undefined;
  /** How often a request is sent before its failure is told. Default 4. */
  readonly attempts?: number | undefined;
  /** What the credentials may spend: a GET, HEAD or list is a read, everything else a write. */
  readonly budget?: Budget | undefined;
  /**
   * Called for each answer with the time that its `Date` header tells, in Unix ms, a whole second; undefined if it tells
   * none. For counting, and for comparing clocks.
   */
  readonly onAnswer?: ((date: number | undefined) => void) | undefined;
}

const TIMEOUT_MS = 30_000;
const ATTEMPTS = 4;
const CONCURRENCY_MAX = 256;

/** @throws SyncError INVALID for an option out of range, UNAUTHORISED when there are no credentials. */
export async function connect(options: ConnectOptions): Promise<{ client: Client; concurrency: number }> {
  const { runtime, name = "s3", bucket, ca, budget } = options;
  const around = await surroundings(options.profile);
  const credentials = options.credentials ?? around.credentials;
  if (credentials === undefined) {
    const cure = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile";
    throw new SyncError("UNAUTHORISED", "there are no credentials", { store: name, operation: "open", cure });
  }
  const named = options.endpoint ?? around.endpoint;
  const { region = around.region, addressing } = options;
  const first = endpointOf({ bucket, endpoint: named, region: undefined, addressing });
  // A host that says its region knows better than the environment, which may be about another service.
  const said = options.region ?? (named === undefined || first.region === ELSEWHERE ? region : first.region);
  const endpoint = endpointOf({ bucket, endpoint: named, region: said, addressing });
  const concurrency = numberOption("concurrency", options.concurrency, endpoint.concurrency, 1, CONCURRENCY_MAX);
  const client = new Client({
    name,
    runtime,
    endpoint,
    credentials,
    transport: transport({ connections: concurrency, ca }),
    budget,
    onAnswer: options.onAnswer,
    attempts: numberOption("attempts", options.attempts, ATTEMPTS, 1, 100),
    timeoutMs: numberOption("timeoutMs", options.timeoutMs, TIMEOUT_MS, 1, 2 ** 31 - 1),
  });
  return { client, concurrency };
}

const ELSEWHERE = "us-east-1";

/** @throws SyncError INVALID */
export function numberOption(
  name: string,
  given: number | undefined,
  otherwise: number,
  min: number,
  max: number,
): number {
  const value = given ?? otherwise;
  if (Number.isSafeInteger(value) && value >= min && value <= max) return value;
  const cure = `give a whole number from ${min} to ${max}`;
  throw new SyncError("INVALID", `option ${name} is ${String(value)}`, { store: "s3", operation: "open", cure });
}
