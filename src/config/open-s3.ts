import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { SyncError } from "../error.ts";
import { s3 } from "../stores/s3.ts";
import type { Credentials, S3Options } from "../stores/s3.ts";
import { answersOf } from "./answers.ts";
import type { OpenContext, Opened } from "./schemes.ts";
import type { StoreUrl } from "./url.ts";
import type { OptionValue } from "./values.ts";

type Values = ReadonlyMap<string, OptionValue>;

const PLACE = /^\/\/(?:([^@]*)@)?([^/@]+)(?:\/(.*))?$/s;

/** `//bucket/prefix`, with credentials as `//id:secret@bucket/prefix` if they must be in the URL. */
export async function openS3(url: StoreUrl, values: Values, { runtime, base }: OpenContext): Promise<Opened> {
  const [, user, bucket, prefix = ""] = PLACE.exec(url.place) ?? [];
  if (bucket === undefined) {
    const cure = "write it as s3://bucket/prefix";
    throw new SyncError("INVALID", `${url.text}: no bucket is named`, { cure });
  }
  const ca = values.get("ca") as string | undefined;
  const conditions = values.get("conditions") as "probe" | "quoted" | "unquoted" | "none" | undefined;
  const options: S3Options = {
    runtime,
    bucket,
    prefix: decoded(prefix, url),
    endpoint: values.get("endpoint") as string | undefined,
    region: values.get("region") as string | undefined,
    addressing: values.get("addressing") as "host" | "path" | undefined,
    profile: values.get("profile") as string | undefined,
    credentials: credentialsOf(user, values, url),
    ca: ca === undefined ? undefined : await readFile(resolve(base, ca), "utf8"),
    create: values.get("create") as boolean | undefined,
    readonly: values.get("readonly") as boolean | undefined,
    conditions: conditions === "probe" ? undefined : conditions,
    concurrency: values.get("concurrency") as number | undefined,
    attempts: values.get("attempts") as number | undefined,
    timeoutMs: values.get("timeout") as number | undefined,
    multipartBytes: values.get("multipartBytes") as number | undefined,
    valueBytesMax: values.get("largestValue") as number | undefined,
    watchIntervalMs: values.get("poll") as number | undefined,
    watchKeysMax: values.get("watchKeysMax") as number | undefined,
  };
  const answers = answersOf();
  const store = await s3({ ...options, onAnswer: answers.onAnswer });
  return { store, clock: answers.clockOf(store), requests: () => store.requests };
}

function credentialsOf(user: string | undefined, values: Values, url: StoreUrl): Credentials | undefined {
  const [id, secret] = user === undefined ? [] : user.split(":", 2);
  const accessKeyId = id === undefined ? (values.get("accessKeyId") as string | undefined) : decoded(id, url);
  const secretAccessKey =
    secret === undefined ? (values.get("secretAccessKey") as string | undefined) : decoded(secret, url);
  if (accessKeyId === undefined && secretAccessKey === undefined) return undefined;
  if (accessKeyId === undefined || secretAccessKey === undefined) {
    const cure = "give accessKeyId and secretAccessKey, or neither";
    throw new SyncError("INVALID", `${url.text}: half of the credentials is missing`, { cure });
  }
  return { accessKeyId, secretAccessKey, sessionToken: values.get("sessionToken") as string | undefined };
}

function decoded(text: string, url: StoreUrl): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new SyncError("INVALID", `${url.text}: a broken % escape`, { cure: "write % as %25" });
  }
}
