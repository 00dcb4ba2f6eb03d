import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { afterAll, describe, expect, it } from "vitest";
import { withoutSecrets } from "../../src/config/url.ts";
import { NO_META } from "../../src/entry.ts";
import type { Meta } from "../../src/entry.ts";
import { SyncError } from "../../src/error.ts";
import type { Call } from "../../src/stores/s3/call.ts";
import type { Client } from "../../src/stores/s3/client.ts";
import { surroundings } from "../../src/stores/s3/credentials.ts";
import { encodeName, endpointOf } from "../../src/stores/s3/endpoint.ts";
import { Facts } from "../../src/stores/s3/facts.ts";
import { FACT_MS, PAST_MAX, PAST_MS, formFor, formatPast, pastAfter, readPast } from "../../src/stores/s3/form.ts";
import { gunzipped, gzipBytesMax, gzipNaming } from "../../src/stores/s3/gzip.ts";
import { foundOf, headersOf, objectOf } from "../../src/stores/s3/object.ts";
import { probe } from "../../src/stores/s3/probe.ts";
import { parseXml, textOf } from "../../src/stores/s3/xml.ts";
import { systemRuntime } from "../../src/system.ts";
import { value, version } from "./s3/world.ts";

const where = { store: "s3", operation: "read" };
const utf8 = new TextEncoder();

describe("XML", () => {
  it("of S3 is read", () => {
    const root = parseXml('<?xml version="1.0"?>\n<A xmlns="http://x/"><B>a &amp; &lt;b&#x21;</B><C/></A>');
    expect(root?.name).toBe("A");
    expect(textOf(root, "B")).toBe("a & <b!");
    expect(textOf(root, "C")).toBe("");
  });

  // Mutation: each is the removal of one refusal in xml.ts.
  it.each([
    ["a document type", '<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>'],
    ["an unknown entity", "<a>&nbsp;</a>"],
    ["a bare ampersand", "<a>&</a>"],
    ["a code point that is none", "<a>&#x110000;</a>"],
    ["CDATA", "<a><![CDATA[x]]></a>"],
    ["a comment", "<a><!-- x --></a>"],
    ["a wrong end", "<a><b></a></b>"],
    ["no end", "<a><b></b>"],
    ["two roots", "<a></a><b></b>"],
    ["text outside", "x<a></a>"],
    ["depth", `${"<a>".repeat(10)}${"</a>".repeat(10)}`],
    ["elements", `<a>${"<b/>".repeat(40_001)}</a>`],
    ["nothing", ""],
    ["JSON", '{"Code":"InvalidRequest"}'],
  ])("with %s is refused", (_, text) => expect(parseXml(text)).toBeUndefined());

  it("of the largest list is read in no time worth telling", () => {
    const one =
      "<Contents><Key>k</Key><LastModified>2026-01-01T00:00:00Z</LastModified><ETag>&quot;e&quot;</ETag></Contents>";
    expect(parseXml(`<L>${one.repeat(1000)}</L>`)?.children).toHaveLength(1000);
  });
});

describe("an endpoint", () => {
  it.each([
    [{ bucket: "data", region: "eu-west-1" }, "https://data.s3.eu-west-1.amazonaws.com/", "eu-west-1"],
    [{ bucket: "data" }, "https://data.s3.us-east-1.amazonaws.com/", "us-east-1"],
    [{ bucket: "my.data", region: "eu-west-1" }, "https://s3.eu-west-1.amazonaws.com/my.data/", "eu-west-1"],
    [
      { bucket: "data", endpoint: "https://nyc3.digitaloceanspaces.com" },
      "https://data.nyc3.digitaloceanspaces.com/",
      "nyc3",
    ],
    [
      { bucket: "data", endpoint: "https://abc.r2.cloudflarestorage.com" },
      "https://abc.r2.cloudflarestorage.com/data/",
      "auto",
    ],
    [{ bucket: "data", endpoint: "http://127.0.0.1:7480" }, "http://127.0.0.1:7480/data/", "us-east-1"],
    [{ bucket: "data", endpoint: "https://ceph.lan", addressing: "host", region: "x" }, "https://data.ceph.lan/", "x"],
  ] as const)("%j is %s in %s", (options, url, region) => {
    const { origin, path, region: found } = endpointOf(options);
    expect([origin + path, found]).toEqual([url, region]);
  });

  it.each([
    { bucket: "Data" },
    { bucket: "a" },
    { bucket: "a/b" },
    { bucket: "data", endpoint: "ftp://x" },
    { bucket: "data", endpoint: "https://x/path" },
    { bucket: "data", endpoint: "nonsense" },
    { bucket: "data", endpoint: "https://id:secret@x" },
  ])("%j is refused, and credentials in it are not shown", (options) => {
    expect(() => endpointOf(options)).toThrow(/^(?!.*secret).*$/s);
  });

  it("takes names with every byte escaped that is not unreserved", () => {
    expect(encodeName("a b/ü+(1)!*'%.txt")).toBe("a%20b/%C3%BC%2B%281%29%21%2A%27%25.txt");
  });
});

describe("credentials", () => {
  const home = mkdtempSync(join(tmpdir(), "microsync-aws-"));
  afterAll(() => rmSync(home, { recursive: true }));
  mkdirSync(join(home, ".aws"));
  const keys = (name: string) => `aws_access_key_id = ID${name}\naws_secret_access_key=SECRET${name}\n`;
  writeFileSync(
    join(home, ".aws", "credentials"),
    `[default]\n${keys("D")}\n# x\n[work]\r\n${keys("W")}aws_session_token = T\n`,
  );
  writeFileSync(
    join(home, ".aws", "config"),
    "[default]\nregion = eu-north-1\n[profile work]\nregion=eu-west-3\nendpoint_url = https://e\n",
  );
  const ofD = { accessKeyId: "IDD", secretAccessKey: "SECRETD", sessionToken: undefined };
  const ofW = { accessKeyId: "IDW", secretAccessKey: "SECRETW", sessionToken: "T" };
  const variables = { AWS_ACCESS_KEY_ID: "IDV", AWS_SECRET_ACCESS_KEY: "SECRETV" };
  const ofV = { accessKeyId: "IDV", secretAccessKey: "SECRETV", sessionToken: undefined };

  it("come from the variables, then the default profile", async () => {
    expect(await surroundings(undefined, {}, home)).toEqual({
      credentials: ofD,
      region: "eu-north-1",
      endpoint: undefined,
    });
    const around = { ...variables, AWS_REGION: "r", AWS_ENDPOINT_URL_S3: "https://s" };
    expect(await surroundings(undefined, around, home)).toEqual({
      credentials: ofV,
      region: "r",
      endpoint: "https://s",
    });
  });

  it("come from a profile that is named, whatever the variables say", async () => {
    expect(await surroundings("work", variables, home)).toEqual({
      credentials: ofW,
      region: "eu-west-3",
      endpoint: "https://e",
    });
    expect((await surroundings(undefined, { AWS_PROFILE: "work" }, home)).credentials).toEqual(ofW);
    await expect(surroundings("none", {}, home)).rejects.toMatchObject({ code: "UNAUTHORISED" });
  });

  it("may be missing", async () => {
    expect((await surroundings(undefined, {}, join(home, "nowhere"))).credentials).toBeUndefined();
  });

  // Mutation: the second replacement of `withoutSecrets`.
  it("are not in the text of a URL that messages show", () => {
    const url = "s3://ID:SE/CRET@bucket/p?accessKeyId=ID&secretAccessKey=SECRET&region=r&sessionToken=TOKEN";
    expect(withoutSecrets(url)).toBe("s3://…@bucket/p?accessKeyId=…&secretAccessKey=…&region=r&sessionToken=…");
  });
});

describe("an object", () => {
  const reply = (entry: ReturnType<typeof value>) => ({ ...headersOf(entry), etag: '"e"', "content-length": "1" });

  it("is the value itself, with its type, and metadata as headers any tool shows", () => {
    const meta = { "content-type": "application/json", author: "Ada Lovelace" };
    const made = objectOf(value("k", version(1), '{"a":1}', meta), []);
    expect(new TextDecoder().decode(made.body)).toBe('{"a":1}');
    expect(made.headers).toMatchObject({ "content-type": "application/json", "x-amz-meta-author": "Ada Lovelace" });
  });

  const worst = Object.fromEntries(Array.from({ length: 500 }, (_, i) => [i.toString(36).padStart(2, "0"), ""]));
  it.each<[string, Meta]>([
    ["no metadata", NO_META],
    ["control characters", { a: "\r\n\0\t", b: " x", "content-type": "text/plain\n" }],
    ["names that servers use", { "sync-version": "mine", "-": "dash", "content-type": "x/y" }],
    ["an RFC 2047 word", { a: "=?UTF-8?Q?x?=" }],
    ["1 KiB of control characters", { a: "\u0001\u0002\u0003".repeat(341) }],
    ["500 names", worst],
  ])("with %s comes back the same, in headers of at most 2 KB and 256 bytes each", (_, meta) => {
    const entry = value("k", version(1), "x", meta);
    const headers = reply(entry);
    expect(foundOf("k", headers, where).head.meta).toEqual(meta);
    const own = Object.entries(headersOf(entry)).filter(([name]) => name.startsWith("x-amz-meta-"));
    expect(own.every(([, text]) => text.length <= 256)).toBe(true);
    const past = Array.from({ length: PAST_MAX }, (_, i) => ({ etag: `1234567${i % 10}`, at: 30_000_000 }));
    expect(formatPast(past).length).toBeLessThanOrEqual(256);
    const bytes = own.reduce((sum, [name, text]) => sum + name.length + text.length, 0);
    expect(bytes + formatPast(past).length + 100).toBeLessThanOrEqual(2048 + 11 * own.length);
  });

  it("with headers that make no entry is CORRUPT, not a miss", () => {
    const headers = { ...reply(value("k", version(1), "x")), "x-amz-meta-sync-version": "nonsense" };
    expect(() => foundOf("k", headers, where)).toThrow(expect.objectContaining({ code: "CORRUPT" }) as Error);
  });
});

describe("bytes that were there before", () => {
  const now = 1.8e12;
  const bytes = utf8.encode("same");
  const etag = "51037a4a37730f52c8732586d3aaa316"; // md5 of "same"

  it("are plain at first, and gzip as long as a writer may remember them", () => {
    expect(formFor(bytes, [])).toBe("plain");
    const past = readPast(formatPast(pastAfter([], etag, "plain", now)));
    expect(formFor(bytes, past)).toBe("gzip");
    expect(formFor(utf8.encode("other"), past)).toBe("plain");
    const later = pastAfter(past, "0".repeat(32), "plain", now + PAST_MS + 60_000);
    expect(formFor(bytes, later)).toBe("plain");
  });

  it("are read by any tool that knows gzip, and differ with the version", () => {
    const [one, two] = [gzipNaming(bytes, version(1)), gzipNaming(bytes, version(2))];
    expect(gunzipSync(one).toString()).toBe("same");
    expect(Buffer.from(one).equals(Buffer.from(two))).toBe(false);
    expect(gunzipped(one, 4)).toEqual(bytes);
    expect(gunzipped(one, 3)).toBeUndefined();
    expect(gunzipped(bytes, 100)).toBeUndefined();
  });

  it.each([0, 1, 65_535, 65_536, 131_070, 200_000])(
    "of %i bytes come back from both, and from compressed gzip",
    (length) => {
      const large = new Uint8Array(length).map((_, i) => i * 7 + (i >> 8));
      const gzip = gzipNaming(large, version(1));
      expect(new Uint8Array(gunzipSync(gzip))).toEqual(large);
      expect(gunzipped(gzip, length)).toEqual(large);
      expect(gzip.length).toBeLessThanOrEqual(gzipBytesMax(length));
      expect(gunzipped(gzipSync(large), length)).toEqual(large);
    },
  );

  it("have room for the heads of all blocks, however large they are", () => {
    const blocks =
      gzipNaming(new Uint8Array(65_536), version(1)).length - gzipNaming(new Uint8Array(65_535), version(1)).length - 1;
    expect(blocks).toBe(5);
    const most = 5 * 2 ** 30;
    expect(gzipBytesMax(most) - most).toBeGreaterThan((most / 65_535) * blocks + 100);
    const random = randomBytes(1_000_000);
    expect(gzipSync(random, { level: 1 }).length).toBeLessThan(gzipBytesMax(random.length));
  });

  it("are nothing when a byte of them is damaged, or the end is missing", () => {
    const gzip = gzipNaming(bytes, version(1));
    const name = 16 + version(1).length;
    for (let i = 0; i < gzip.length; i++) {
      // The version, the time and the system are for its reader's information.
      if ((i >= 4 && i < 10) || (i >= 12 && i < name)) continue;
      const damaged = gzip.slice();
      damaged[i] = 0xff ^ (damaged[i] ?? 0);
      expect(gunzipped(damaged, 100), `byte ${i}`).toBeUndefined();
    }
    for (let end = 0; end < gzip.length; end++) expect(gunzipped(gzip.subarray(0, end), 100)).toBeUndefined();
  });
});

describe("what was seen of objects", () => {
  let nowMs = 0;
  const clock = { ...systemRuntime, monotonic: () => nowMs };
  const seen = (etag: string, seconds: number | undefined) => {
    const headers = { ...headersOf(value("k", version(1), "x")), etag: `"${etag}"`, "content-length": "1" };
    return { ...foundOf("k", headers, where), seconds };
  };

  // Mutation: the date left out: the same bytes that another tool put since, with other headers, are taken for these.
  it("is that of a listed one if ETag and date are the same, or the date was not known and the ETag is new", () => {
    const facts = new Facts(clock, 10);
    facts.set("a", seen("e", 100), nowMs);
    expect(facts.matching("a", "e", 100)?.seconds).toBe(100);
    expect([facts.matching("a", "e", 101), facts.matching("a", "f", 100)]).toEqual([undefined, undefined]);
    facts.set("b", seen("e", undefined), nowMs);
    expect(facts.matching("b", "e", 101)?.seconds).toBe(101);
    expect(facts.matching("b", "e", 102)).toBeUndefined();
    facts.set("c", seen("e", undefined), nowMs);
    nowMs += FACT_MS;
    expect(facts.matching("c", "e", 101)).toBeUndefined();
  });

  // Mutations: no end of that time, which form.ts counts on; a slower answer to an earlier question taken.
  it("may be the condition of a write for ten minutes, and is what was asked last", () => {
    const facts = new Facts(clock, 10);
    const askedAt = nowMs;
    facts.set("a", seen("new", 100), askedAt + 1);
    facts.set("a", seen("old", 99), askedAt);
    facts.set("a", undefined, askedAt);
    nowMs = askedAt + FACT_MS;
    expect(facts.recent("a")?.etag).toBe("new");
    nowMs++;
    expect(facts.recent("a")).toBeUndefined();
  });

  // Mutation: no bound.
  it("is that of the most recent ones, so many", () => {
    const facts = new Facts(clock, 2);
    for (const name of ["a", "b", "a", "c"]) facts.set(name, seen(name, 100), nowMs);
    expect(["a", "b", "c"].map((name) => facts.recent(name)?.etag)).toEqual(["a", undefined, "c"]);
  });
});

/** What an endpoint makes of conditions: it decides them, or takes the header and ignores it. */
interface Endpoint {
  readonly creation: "decided" | "ignored" | "not implemented";
  readonly change: "decided" | "ignored";
  readonly removal: "decided" | "ignored";
  readonly quotes: boolean;
}

function endpoint({ creation, change, removal, quotes }: Endpoint) {
  let etag: string | undefined;
  let stored = 0;
  const answer = (status: number, takes: readonly number[], headers = {}) => {
    if (!takes.includes(status)) throw new SyncError("UNAVAILABLE", String(status), { retryable: false });
    return Promise.resolve({ status, headers, body: new Uint8Array(0) });
  };
  const client = {
    name: "s3",
    send(_: Call, { method, headers = {}, takes }: Parameters<Client["send"]>[1]) {
      const wanted = headers["if-match"];
      if (method === "DELETE") {
        if (wanted !== undefined && removal === "decided" && wanted.replaceAll('"', "") !== etag) {
          return answer(412, takes);
        }
        etag = undefined;
        return answer(204, takes);
      }
      if (headers["if-none-match"] !== undefined) {
        if (creation === "not implemented") return answer(501, takes);
        if (creation === "decided" && etag !== undefined) return answer(412, takes);
      }
      const written = quotes ? `"${etag}"` : etag;
      if (wanted !== undefined && change === "decided" && wanted !== written) return answer(412, takes);
      etag = String(++stored).padStart(32, "a");
      return answer(200, takes, { etag: `"${etag}"` });
    },
  };
  return { client: client as unknown as Client, isEmpty: () => etag === undefined };
}

// Mutations: either refusal that has to be seen left out in probe.ts; the form without quotes; what a DELETE kept; the end.
it.each<[string, Partial<Endpoint>, { put: string; remove: boolean }]>([
  ["decides all", {}, { put: "quoted", remove: true }],
  ["wants ETags without quotes", { quotes: false }, { put: "unquoted", remove: true }],
  ["ignores conditions of creations", { creation: "ignored" }, { put: "none", remove: false }],
  ["has none", { creation: "not implemented" }, { put: "none", remove: false }],
  ["ignores conditions of changes", { change: "ignored" }, { put: "none", remove: false }],
  ["ignores conditions of removals", { removal: "ignored" }, { put: "quoted", remove: false }],
])("an endpoint that %s is found out, and nothing stays there", async (_, differs, abilities) => {
  const all = { creation: "decided", change: "decided", removal: "decided", quotes: true } as const;
  const { client, isEmpty } = endpoint({ ...all, ...differs });
  expect(await probe(client, {} as Call, systemRuntime, "p/")).toEqual(abilities);
  expect(isEmpty()).toBe(true);
});
