import { createHash } from "node:crypto";
import { chmodSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { SyncError } from "../../../src/error.ts";
import type { Runtime } from "../../../src/runtime.ts";
import { accessBySsh } from "../../../src/stores/git/large-by-ssh.ts";
import { largeFiles } from "../../../src/stores/git/large.ts";
import type { LargeSettings } from "../../../src/stores/git/large.ts";
import type { GitUrl } from "../../../src/stores/git/url.ts";
import { withAttributes } from "../../../src/stores/lfs/attributes.ts";
import { checked } from "../../../src/stores/lfs/checked.ts";
import { oneChunk } from "../../../src/stores/lfs/files.ts";
import type { LfsFiles, Upload } from "../../../src/stores/lfs/files.ts";
import { lfsFolder } from "../../../src/stores/lfs/folder.ts";
import { encodePointer, parsePointer, pointerOf } from "../../../src/stores/lfs/pointer.ts";
import { lfsServer as lfsClient } from "../../../src/stores/lfs/server.ts";
import { http } from "../../../src/stores/wire/http.ts";
import type { Http, HttpRequest } from "../../../src/stores/wire/http.ts";
import { systemRuntime } from "../../../src/system.ts";
import { lfsServer } from "../../servers/lfs.ts";
import type { LfsServer } from "../../servers/lfs.ts";

/** Pointers, the batch API and transfers, without a repository. */
const runtime = systemRuntime;
let server: LfsServer;
let files: LfsFiles;
let folder: string;
beforeEach(async () => {
  server = await lfsServer();
  folder = mkdtempSync(join(tmpdir(), "microsync-lfs-"));
  files = client({});
});
afterEach(async () => {
  await files.close();
  await server.close();
  rmSync(folder, { recursive: true, force: true });
});

function client(headers: Readonly<Record<string, string>>): LfsFiles {
  const wire = http({ runtime, store: "git", timeoutMs: 60_000, connectionsMax: 2 });
  const access = () => Promise.resolve({ url: server.url, headers });
  return lfsClient({ runtime, http: wire, store: "git", branch: "main", access });
}

const PIECE = 64 * 1024;
/** So many pieces, made one at a time: how many are made ahead of what was taken is counted. */
function stream(pieces: number): Upload & { readonly made: () => number } {
  let made = 0;
  const piece = (i: number) => new Uint8Array(PIECE).fill(i);
  const hash = createHash("sha256");
  for (let i = 0; i < pieces; i++) hash.update(piece(i));
  return {
    oid: hash.digest("hex"),
    size: pieces * PIECE,
    made: () => made,
    async *content() {
      for (let i = 0; i < pieces; i++) {
        made++;
        yield piece(i);
      }
    },
  };
}
async function digestOf(pieces: AsyncIterable<Uint8Array>): Promise<{ oid: string; largest: number }> {
  const hash = createHash("sha256");
  let largest = 0;
  for await (const piece of pieces) {
    hash.update(piece);
    largest = Math.max(largest, piece.length);
  }
  return { oid: hash.digest("hex"), largest };
}
const failing = async (work: Promise<unknown>): Promise<SyncError> => {
  const error: unknown = await work.then(
    () => undefined,
    (caught: unknown) => caught,
  );
  if (!(error instanceof SyncError)) throw new Error(`no SyncError: ${String(error)}`);
  return error;
};

describe("a pointer", () => {
  const oid = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393";
  // The example of git-lfs, docs/spec.md.
  const text = `version https://git-lfs.github.com/spec/v1\noid sha256:${oid}\nsize 12345\n`;
  const bytes = (of: string) => new TextEncoder().encode(of);

  it("has one encoding, the client's", () => {
    expect(new TextDecoder().decode(encodePointer({ oid, size: 12_345 }))).toBe(text);
    expect(parsePointer(bytes(text))).toEqual({ oid, size: 12_345 });
    expect(pointerOf(bytes("x")).size).toBe(1);
  });

  it.each([
    ["without its last line end", text.slice(0, -1)],
    ["with more behind it", `${text}more\n`],
    ["of another version", text.replace("v1", "v2")],
    ["with an extension", text.replace("oid", "ext-0-x sha256:00\noid")],
    ["with Windows line ends", text.replaceAll("\n", "\r\n")],
    ["with a size that is none", text.replace("12345", "-1")],
    ["that is empty", ""],
  ])("%s is none", (_, wrong) => {
    expect(parsePointer(bytes(wrong))).toBeUndefined();
  });

  it("is told of in .gitattributes, beside what others wrote", () => {
    const before = "*.txt text\n";
    const after = withAttributes(before, new Set(["a b", "x[1]"]), new Set());
    expect(after).toBe(
      "*.txt text\n/a[[:space:]]b filter=lfs diff=lfs merge=lfs -text\n/x\\[1\\] filter=lfs diff=lfs merge=lfs -text\n",
    );
    expect(withAttributes(after, new Set(["a b"]), new Set(["a b"]))).toBe(after);
    expect(withAttributes(after, new Set(), new Set(["a b", "x[1]"]))).toBe(before);
  });
});

describe.each(["a server", "a folder"])("large files on %s", (where) => {
  const place = () => (where === "a server" ? files : lfsFolder({ runtime, store: "git", folder }));

  // Mutation: collecting a stream before it is sent (all pieces are made before one is taken), or after it came.
  it("go up and come down in pieces, and what is there already is not sent again", async () => {
    const object = stream(200);
    await place().upload([object], {});
    expect(object.made()).toBe(200);
    const { oid, largest } = await digestOf(place().download(object, {}));
    expect(oid).toBe(object.oid);
    expect(largest).toBeLessThanOrEqual(512 * 1024);
    await place().upload([object], {});
    expect(object.made()).toBe(200);
  });

  it("that are not there are NOT_FOUND, and a stream of other bytes than it said is no object", async () => {
    expect((await failing(digestOf(place().download({ oid: "0".repeat(64), size: 1 }, {})))).code).toBe("NOT_FOUND");
    const lying = { ...stream(2), oid: "1".repeat(64) };
    await failing(place().upload([lying], {}));
    expect((await failing(digestOf(place().download(lying, {})))).code).toBe("NOT_FOUND");
  });
});

// Mutation: whatever lies under the name is taken for the object.
it("a file in the folder that was cut short is put there again", async () => {
  const place = lfsFolder({ runtime, store: "git", folder });
  const object = stream(2);
  await place.upload([object], {});
  const path = join(folder, object.oid.slice(0, 2), object.oid.slice(2, 4), object.oid);
  truncateSync(path, PIECE);
  expect((await failing(digestOf(place.download(object, {})))).code).toBe("NOT_FOUND");
  await place.upload([object], {});
  expect((await digestOf(place.download(object, {}))).oid).toBe(object.oid);
});

// Mutations: the size left out of `checked`; going on above it.
it("what comes is checked by size and sum, and no more is passed on than the pointer says", async () => {
  const object = stream(3);
  for (const size of [object.size + 1, object.size - PIECE]) {
    let bytes = 0;
    const reading = async () => {
      for await (const piece of checked(object.content(), { oid: object.oid, size }, "git")) bytes += piece.length;
    };
    expect((await failing(reading())).code).toBe("CORRUPT");
    expect(bytes).toBeLessThanOrEqual(size);
  }
});

// Mutations: `isOurs` always; an http: address taken from a server that is asked by https.
it.each([
  ["https://git.example/o", {}, "Basic s3cret"],
  ["https://git.example/o", { authenticated: true }, undefined],
  ["https://elsewhere.example/o", {}, undefined],
  ["https://git.example:444/o", {}, undefined],
  ["http://git.example/o", {}, "not sent"],
])("to %s, %j, goes the credential %s", async (href, answer, credential) => {
  const object = { ...stream(1), content: () => oneChunk(new Uint8Array(PIECE)) };
  const sent: HttpRequest[] = [];
  const wire = {
    send(request: HttpRequest) {
      sent.push(request);
      const objects = [{ oid: object.oid, ...answer, actions: { upload: { href } } }];
      const bytes = new TextEncoder().encode(JSON.stringify({ objects }));
      return Promise.resolve({ status: 200, headers: {}, bytes });
    },
  } as unknown as Http;
  const headers = { authorization: "Basic s3cret" };
  const access = () => Promise.resolve({ url: "https://git.example/lfs", headers });
  const over = lfsClient({ runtime, http: wire, store: "git", branch: "main", access });
  const failure = await over.upload([object], {}).catch((error: unknown) => error);
  const [, put] = sent;
  expect(put === undefined ? "not sent" : put.headers["authorization"]).toBe(credential);
  if (credential === "not sent") expect(failure).toMatchObject({ code: "UNAVAILABLE" });
  expect(JSON.stringify(failure) ?? "").not.toContain("s3cret");
});

// Mutations: a range that ends one too far; all of it taken for the part; a part of another length passed on as if whole.
it.each([
  [206, 3, 7, undefined],
  [200, 0, 10, undefined],
  [206, 3, 6, "CORRUPT"],
  [206, 3, 8, "CORRUPT"],
  [200, 0, 5, "CORRUPT"],
])("a part that is answered by %i and the bytes from %i to %i: %s", async (status, from, to, code) => {
  const bytes = Uint8Array.from({ length: 10 }, (_, i) => i);
  const pointer = pointerOf(bytes);
  const asked: (string | undefined)[] = [];
  const wire = {
    send() {
      const objects = [{ oid: pointer.oid, actions: { download: { href: "https://git.example/o" } } }];
      return Promise.resolve({
        status: 200,
        headers: {},
        bytes: new TextEncoder().encode(JSON.stringify({ objects })),
      });
    },
    stream({ headers }: HttpRequest) {
      asked.push(headers["range"]);
      return Promise.resolve({ status, headers: {}, body: oneChunk(bytes.subarray(from, to)) });
    },
  } as unknown as Http;
  const access = () => Promise.resolve({ url: "https://git.example/lfs", headers: {} });
  const over = lfsClient({ runtime, http: wire, store: "git", branch: "main", access });
  const got: number[] = [];
  const reading = async () => {
    for await (const piece of over.download(pointer, {}, { from: 3, to: 7 })) got.push(...piece);
  };
  if (code === undefined) await reading();
  else expect((await failing(reading())).code).toBe(code);
  expect(asked).toEqual(["bytes=3-6"]);
  if (code === undefined) expect(got).toEqual([3, 4, 5, 6]);
  else expect(got.length).toBeLessThanOrEqual(4);
});

describe("where git has its large files", () => {
  const placed = (url: GitUrl, more: Partial<LargeSettings> = {}) =>
    largeFiles({ runtime, url, branch: "main", gitDir: undefined, timeoutMs: 60_000, ...more });
  const at = (remote: string): GitUrl => ({ remote, shown: remote, path: undefined, branch: undefined, prefix: "" });

  // Mutation: a host that ssh would take for an option is asked.
  it("is no host that ssh takes for an option", () => {
    expect(placed(at("ssh://-oProxyCommand=true/x.git"))).toBeUndefined();
    expect(placed(at("-oProxyCommand=true:x.git"))).toBeUndefined();
  });

  // Mutations: what Node says of a text that is no URL, which quotes it, is passed on; any scheme taken.
  it.each(["https://u:s3cret@h st/x", "https://u:s3cret%zz@host/x", "ftp://u:s3cret@host/x", "s3cret"])(
    "is no address such as %s, which is not shown",
    (lfsUrl) => {
      const calls = [
        () => placed(at("/x.git"), { lfsUrl }),
        ...(lfsUrl.startsWith("https") ? [() => placed(at(lfsUrl))] : []),
      ];
      for (const call of calls) {
        let error: unknown;
        try {
          call();
        } catch (caught) {
          error = caught;
        }
        expect(error).toMatchObject({ code: "INVALID", retryable: false, cure: expect.stringContaining("lfsUrl") });
        expect(inspect(error, { depth: 9, showHidden: true })).not.toContain("s3cret");
      }
    },
  );

  // Mutation: that git could not be asked is remembered for ever.
  it("asks git for credentials again after it could not", async () => {
    const helper = "!f() { echo username=u; echo password=p; }; f";
    writeFileSync(join(folder, ".gitconfig"), `[credential]\n\thelper = "${helper}"\n`);
    const home = process.env["HOME"];
    process.env["HOME"] = folder;
    let isHasty = true;
    const timer: Runtime["timer"] = (delayMs, fn, background) => runtime.timer(isHasty ? 0 : delayMs, fn, background);
    const large = placed(at(server.url), { lfsUrl: server.url, runtime: { ...runtime, timer } });
    server.authorization = `Basic ${Buffer.from("u:p").toString("base64")}`;
    try {
      const object = stream(1);
      expect((await failing(large?.files.upload([object], {}) ?? Promise.resolve())).code).toBe("TIMEOUT");
      isHasty = false;
      await large?.files.upload([object], {});
      expect(server.objects.has(object.oid)).toBe(true);
    } finally {
      if (home === undefined) delete process.env["HOME"];
      else process.env["HOME"] = home;
      await large?.files.close();
    }
  });
});

describe("the batch API", () => {
  // Mutation: what a server sends is passed on without `checked`.
  it("of a server that gives other bytes gives none of them an end", async () => {
    const object = stream(2);
    await files.upload([object], {});
    server.objects.set(object.oid, Buffer.alloc(object.size));
    expect((await failing(digestOf(files.download(object, {})))).code).toBe("CORRUPT");
  });

  it("is asked once for a hundred, and each upload is verified", async () => {
    const objects = Array.from({ length: 150 }, (_, i) => {
      const bytes = new TextEncoder().encode(`object ${i}`);
      return {
        ...pointerOf(bytes),
        async *content() {
          yield bytes;
        },
      };
    });
    await files.upload(objects, {});
    const count = (what: string) => server.requests.filter((request) => request === what).length;
    expect([count("POST batch"), count("PUT object"), count("POST verify")]).toEqual([2, 150, 150]);
    expect(server.objects.size).toBe(150);
  });

  // Mutations: the answer to `verify`, or that to an upload, not looked at.
  it.each(["object", "verify"])("whose %s step is refused has taken nothing", async (step) => {
    server.fault = (what) => (what === step ? 422 : undefined);
    expect((await failing(files.upload([stream(1)], {}))).code).toBe("UNAVAILABLE");
  });

  // Mutation: an object without actions taken for one that is there, whatever is said of it.
  it.each([
    [{ error: { code: 422, message: "too large" } }, "TOO_LARGE"],
    [{ error: { code: 500, message: "broken" } }, "UNAVAILABLE"],
    [undefined, "UNAVAILABLE"],
  ])("that refuses one object says so: %j", async (refusal, code) => {
    const object = stream(1);
    const objects = refusal === undefined ? [] : [{ oid: object.oid, ...refusal }];
    const bytes = new TextEncoder().encode(JSON.stringify({ objects }));
    const wire = { send: () => Promise.resolve({ status: 200, headers: {}, bytes }) } as unknown as Http;
    const access = () => Promise.resolve({ url: server.url, headers: {} });
    const over = lfsClient({ runtime, http: wire, store: "git", branch: "main", access });
    expect((await failing(over.upload([object], {}))).code).toBe(code);
  });

  // Mutations: a retry-after of hours is waited for; one beyond the caller's deadline is.
  it.each([
    ["301", {}],
    ["20", { deadline: systemRuntime.monotonic() + 10_000 }],
  ])("that asks for %s s is not waited for, %j", async (seconds, options) => {
    let asked = 0;
    const wire = {
      send: () => Promise.resolve({ status: 503, headers: { "retry-after": seconds }, bytes: new Uint8Array(++asked) }),
    } as unknown as Http;
    const access = () => Promise.resolve({ url: server.url, headers: {} });
    const over = lfsClient({ runtime, http: wire, store: "git", branch: "main", access });
    const error = await failing(over.upload([stream(1)], options));
    expect([error.code, error.retryAfterMs, asked]).toEqual(["UNAVAILABLE", Number(seconds) * 1000, 1]);
  });

  it("is tried again after 503 and a cut connection, and says so when that does not end", async () => {
    let left = 2;
    server.fault = (what) => (what === "object" && left-- > 0 ? (left === 1 ? 503 : "cut") : undefined);
    const object = stream(3);
    await files.upload([object], {});
    expect(server.objects.has(object.oid)).toBe(true);
    server.fault = () => 503;
    expect(await failing(files.upload([stream(4)], {}))).toMatchObject({ code: "UNAVAILABLE", retryable: true });
  });

  it.each([
    [404, "UNSUPPORTED"],
    [401, "UNAUTHORISED"],
    [413, "TOO_LARGE"],
    [507, "TOO_LARGE"],
  ] as const)("that answers %i is %s", async (status, code) => {
    server.fault = () => status;
    expect((await failing(files.upload([stream(1)], {}))).code).toBe(code);
  });

  it("gets the credentials, and no error holds them", async () => {
    server.authorization = "Basic c2VjcmV0OnNlY3JldA==";
    const error = await failing(files.upload([stream(1)], {}));
    expect(error.code).toBe("UNAUTHORISED");
    const known = client({ authorization: server.authorization });
    const object = stream(1);
    await known.upload([object], {});
    expect((await digestOf(known.download(object, {}))).oid).toBe(object.oid);
    server.fault = (what) => (what === "batch" ? undefined : 403);
    const refused = await failing(known.upload([stream(2)], {}));
    expect(refused.message + JSON.stringify(refused)).not.toContain("c2VjcmV0");
    await known.close();
  });

  it("ends at the signal", async () => {
    const over = new AbortController();
    const object = stream(2);
    const stuck: Upload = {
      ...object,
      async *content() {
        yield new Uint8Array(PIECE);
        over.abort();
        await new Promise(() => {});
      },
    };
    expect((await failing(files.upload([stuck], { signal: over.signal }))).code).toBe("ABORTED");
  });
});

describe("a remote by ssh", () => {
  it("is asked where its LFS server is, with the path quoted", async () => {
    const program = join(folder, "ssh");
    const answer = '{"href":"https://lfs.example/x/","header":{"Authorization":"Bearer t"}}';
    writeFileSync(program, `#!/bin/sh\nprintf '%s\\n' "$@" > "$0.args"\necho '${answer}'\n`);
    chmodSync(program, 0o755);
    const before = process.env["GIT_SSH"];
    process.env["GIT_SSH"] = program;
    try {
      const access = await accessBySsh("git@host:2222", "it's/x.git", "upload", 60_000);
      expect(access).toEqual({ url: "https://lfs.example/x", headers: { Authorization: "Bearer t" } });
    } finally {
      if (before === undefined) delete process.env["GIT_SSH"];
      else process.env["GIT_SSH"] = before;
    }
    const { readFileSync } = await import("node:fs");
    expect(readFileSync(`${program}.args`, "utf8").split("\n")).toEqual([
      "-p",
      "2222",
      "git@host",
      "git-lfs-authenticate 'it'\\''s/x.git' upload",
      "",
    ]);
  });
});
