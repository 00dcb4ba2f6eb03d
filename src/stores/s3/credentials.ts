import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { SyncError } from "../../error.ts";

export interface Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string | undefined;
}

/** What the environment says of S3; each part may be missing. */
export interface Surroundings {
  readonly credentials?: Credentials | undefined;
  readonly region?: string | undefined;
  readonly endpoint?: string | undefined;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** A profile file is a few kilobytes. */
const FILE_BYTES_MAX = 1024 * 1024;

/**
 * Credentials, region and endpoint as Amazon's own tools find them: the variables `AWS_…`, then a profile of
 * `~/.aws/credentials` and `~/.aws/config`.
 *
 * @param profile Default: `AWS_PROFILE`, else "default". One that is asked for by name goes before the variables.
 * @throws SyncError UNAUTHORISED for a named profile that does not exist.
 */
export async function surroundings(
  profile: string | undefined,
  environment: Environment = process.env,
  home: string = homedir(),
): Promise<Surroundings> {
  const named = profile ?? environment["AWS_PROFILE"];
  const [credentials, config] = await Promise.all([
    sections(environment["AWS_SHARED_CREDENTIALS_FILE"] ?? join(home, ".aws", "credentials")),
    sections(environment["AWS_CONFIG_FILE"] ?? join(home, ".aws", "config")),
  ]);
  const name = named ?? "default";
  const found = [credentials.get(name), config.get(name === "default" ? name : `profile ${name}`), config.get(name)];
  if (named !== undefined && found.every((section) => section === undefined)) {
    const cure = "name a profile of ~/.aws/credentials, or leave it out";
    throw new SyncError("UNAUTHORISED", `there is no profile ${JSON.stringify(name)}`, { store: "s3", cure });
  }
  const ofProfile = (key: string) => found.map((section) => section?.get(key)).find((value) => value !== undefined);
  const fromFiles = credentialsOf(ofProfile, "aws_access_key_id", "aws_secret_access_key", "aws_session_token");
  const ofVariables = (key: string) => (environment[key] === "" ? undefined : environment[key]);
  const fromVariables = credentialsOf(ofVariables, "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN");
  return {
    credentials: profile === undefined ? (fromVariables ?? fromFiles) : fromFiles,
    region: ofVariables("AWS_REGION") ?? ofVariables("AWS_DEFAULT_REGION") ?? ofProfile("region"),
    endpoint: ofVariables("AWS_ENDPOINT_URL_S3") ?? ofVariables("AWS_ENDPOINT_URL") ?? ofProfile("endpoint_url"),
  };
}

function credentialsOf(
  value: (key: string) => string | undefined,
  id: string,
  secret: string,
  token: string,
): Credentials | undefined {
  const [accessKeyId, secretAccessKey] = [value(id), value(secret)];
  if (accessKeyId === undefined || secretAccessKey === undefined) return undefined;
  return { accessKeyId, secretAccessKey, sessionToken: value(token) };
}

/** The sections of an INI file by name. A file that is not there has none. */
async function sections(path: string): Promise<Map<string, Map<string, string>>> {
  const all = new Map<string, Map<string, string>>();
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (cause) {
    if (isAbsent(cause)) return all;
    throw new SyncError("UNAUTHORISED", "a file with profiles could not be read", { store: "s3", cause });
  }
  if (text.length > FILE_BYTES_MAX) {
    throw new SyncError("INVALID", "a file with profiles has more than 1 MiB", { store: "s3" });
  }
  let current: Map<string, string> | undefined;
  for (const line of text.split(/\r?\n/)) {
    const [, section] = /^\s*\[\s*([^\]]+?)\s*\]/.exec(line) ?? [];
    const [, key, value] = /^([A-Za-z_]\w*)\s*=\s*(.*?)\s*$/.exec(line) ?? [];
    if (section !== undefined) all.set(section, (current = all.get(section) ?? new Map<string, string>()));
    else if (key !== undefined && value !== undefined && value !== "") current?.set(key.toLowerCase(), value);
  }
  return all;
}

function isAbsent(error: unknown): boolean {
  return error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR");
}
