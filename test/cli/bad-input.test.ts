import { execFile } from "node:child_process";
import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { jsonLines, microsync } from "./terminal.ts";

const run = promisify(execFile);
const EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";

let root: string;
let count = 0;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "microsync-bad-"));
});
afterAll(async () => {
  await rm(root, { recursive: true, force: true });
});

/** A folder with things to be wrong about. */
async function place(): Promise<string> {
  const folder = join(root, String(count++));
  await mkdir(join(folder, "plain"), { recursive: true });
  await writeFile(join(folder, "file"), "not a folder");
  await run("git", ["init", "--quiet", "--bare", "--initial-branch=main", join(folder, "truth.git")]);
  const inTruth = ["-c", "user.name=a", "-c", "user.email=a@example.org", `--git-dir=${join(folder, "truth.git")}`];
  const commit = (await run("git", [...inTruth, "commit-tree", "-m", "begin", EMPTY_TREE])).stdout.trim();
  await run("git", [...inTruth, "update-ref", "refs/heads/main", commit]);
  await mkdir(join(folder, "damaged"));
  await writeFile(join(folder, "damaged", "data.mdb"), "x".repeat(9_000));
  return folder;
}

interface Case {
  readonly what: string;
  readonly args: readonly string[];
  readonly chain?: string;
  readonly stdin?: string | Uint8Array;
  readonly status: number;
  /** What the one line says, the cure included. */
  readonly says: readonly string[];
}

const OK = "memory:";
const CASES: readonly Case[] = [
  {
    what: "an unknown scheme",
    args: ["get", "k"],
    chain: "memory: etdc://h/x",
    status: 2,
    says: ["etdc:", "known are memory: lmdb: git: github:"],
  },
  { what: "a mistyped scheme", args: ["get", "k"], chain: "memroy:", status: 2, says: ["do you mean memory:?"] },
  {
    what: "no URL at all",
    args: ["get", "k"],
    chain: "./data",
    status: 2,
    says: ["is not the URL of a store", "scheme:place"],
  },
  {
    what: "an unknown option",
    args: ["get", "k"],
    chain: "lmdb:./x?tll=5s",
    status: 2,
    says: ['no option "tll"', "do you mean ttl?"],
  },
  {
    what: "a malformed option",
    args: ["get", "k"],
    chain: "lmdb:./x?ttl=5",
    status: 2,
    says: ['option ttl is "5"', "5s"],
  },
  { what: "an option out of range", args: ["get", "k"], chain: "memory:?bytesMax=1", status: 2, says: ["bytesMax"] },
  { what: "a quote left open", args: ["get", "k"], chain: '"memory:', status: 2, says: ["not closed"] },
  { what: "an empty chain", args: ["get", "k", "--chain", " "], status: 2, says: ["the chain has no layers"] },
  {
    what: "a folder that is a file",
    args: ["set", "k", "v"],
    chain: "memory: lmdb:./file",
    status: 2,
    says: ["lmdb:./file", "name a folder"],
  },
  {
    what: "a folder below a file",
    args: ["set", "k", "v"],
    chain: "memory: lmdb:./file/x",
    status: 2,
    says: ["lmdb:./file/x"],
  },
  {
    what: "a folder that must be there",
    args: ["get", "k"],
    chain: "lmdb:./none?create=false",
    status: 6,
    says: ["there is no folder", "create it"],
  },
  { what: "a damaged database", args: ["get", "k"], chain: "lmdb:./damaged", status: 17, says: ["lmdb:./damaged"] },
  {
    what: "a repository that is not there",
    args: ["get", "k"],
    chain: "lmdb:./a/b git:./none.git",
    status: 6,
    says: ["none.git", "does not exist", "git init --bare", "?create=true"],
  },
  {
    what: "a folder that is no repository",
    args: ["get", "k"],
    chain: "lmdb:./a git:./plain",
    status: 6,
    says: ["plain", "is not a git repository"],
  },
  { what: "a branch that is missing", args: ["get", "k"], chain: "git:./truth.git#nope", status: 6, says: ["nope"] },
  {
    what: "a branch that is no name",
    args: ["get", "k"],
    chain: "git:./truth.git#a..b",
    status: 2,
    says: ["is not a branch name"],
  },
  {
    what: "two layers of one name",
    args: ["get", "k"],
    chain: "memory:?name=a lmdb:./x?name=a",
    status: 2,
    says: ["two layers are named"],
  },
  { what: "an empty key", args: ["get", ""], chain: OK, status: 2, says: ["a key is a text of 1 to 512 bytes"] },
  {
    what: "a key that is too long",
    args: ["set", "x".repeat(513), "v"],
    chain: OK,
    status: 4,
    says: ["513 bytes", "shorten the key"],
  },
  { what: "half a surrogate in a key", args: ["get", "\ud800"], chain: OK, status: 2, says: ["surrogate"] },
  {
    what: "a value that is no JSON",
    args: ["set", "k", "{n:1}", "--as", "json"],
    chain: OK,
    status: 2,
    says: ["the value is not JSON", "quote it"],
  },
  {
    what: "a value that is no text",
    args: ["set", "k", "-", "--as", "text"],
    stdin: new Uint8Array([0xff]),
    chain: OK,
    status: 2,
    says: ["not UTF-8", "--as bytes"],
  },
  { what: "half a surrogate in a value", args: ["set", "k", "\ud800"], chain: OK, status: 2, says: ["surrogate"] },
  {
    what: "a value beyond a layer's limit",
    args: ["set", "k", "-"],
    stdin: new Uint8Array(200_000),
    chain: "lmdb:./x?bytesMax=1mb&valueBytesMax=1kb",
    status: 4,
    says: ["200000 bytes"],
  },
  {
    what: "an unknown kind of value",
    args: ["set", "k", "v", "--as", "yaml"],
    chain: OK,
    status: 2,
    says: ["--as", "text, json or bytes"],
  },
  {
    what: "metadata without a name",
    args: ["set", "k", "v", "--meta", "x"],
    chain: OK,
    status: 2,
    says: ["--meta name=value"],
  },
  {
    what: "metadata with a bad name",
    args: ["set", "k", "v", "--meta", "A=x"],
    chain: OK,
    status: 2,
    says: ["a-z, 0-9"],
  },
  { what: "no time", args: ["set", "k", "v", "--ttl", "soon"], chain: OK, status: 2, says: ["--ttl", "10m"] },
  {
    what: "no moment",
    args: ["set", "k", "v", "--expires", "soon"],
    chain: OK,
    status: 2,
    says: ["--expires", "2030-01-31"],
  },
  {
    what: "no version",
    args: ["set", "k", "v", "--if-version", "5"],
    chain: OK,
    status: 2,
    says: ["is not a version"],
  },
  { what: "no freshness", args: ["get", "k", "--fresh", "very"], chain: OK, status: 2, says: ["cached, authority"] },
  {
    what: "a level of acknowledgement that is not there",
    args: ["set", "k", "v", "--ack", "disk"],
    chain: OK,
    status: 2,
    says: ["memory"],
  },
  {
    what: "the journal, which is not there yet",
    args: ["set", "k", "v", "--ack", "journal"],
    chain: OK,
    status: 5,
    says: ["leave ack out"],
  },
  { what: "no number", args: ["list", "--limit", "many"], chain: OK, status: 2, says: ["--limit", "whole number"] },
  { what: "no command", args: [], status: 2, says: ["no command is given", "--help"] },
  { what: "an unknown command", args: ["gett", "k"], status: 2, says: ["unknown command 'gett'", "get"] },
  { what: "an unknown flag", args: ["get", "k", "--loud"], status: 2, says: ["unknown option '--loud'"] },
  { what: "a missing key", args: ["get"], status: 2, says: ["missing required argument 'key'"] },
  { what: "an argument too many", args: ["get", "a", "b"], status: 2, says: ["too many arguments"] },
  {
    what: "an import from nowhere",
    args: ["import", "./none"],
    chain: OK,
    status: 6,
    says: ["./none cannot be read", "name a folder"],
  },
  {
    what: "an export into a file's place",
    args: ["export", "file/out"],
    chain: OK,
    status: 9,
    says: ["file/out cannot be written"],
  },
  {
    what: "an export of lines into no folder",
    args: ["export", "none/out.ndjson"],
    chain: OK,
    status: 9,
    says: ["none/out.ndjson cannot be written"],
  },
  {
    what: "a configuration that is not there",
    args: ["get", "k", "--config", "none.json"],
    status: 6,
    says: ["none.json cannot be read"],
  },
];

describe("bad input", () => {
  it.each(CASES)("$what: one line with the cure, its class's status, nothing left behind", async (bad) => {
    const folder = await place();
    const before = await readdir(folder, { recursive: true });
    const env: Record<string, string> = bad.chain === undefined ? {} : { MICROSYNC_CHAIN: bad.chain };
    const ran = await microsync(folder, bad.args, { env, stdin: bad.stdin ?? "" });
    expect(ran.err).toMatch(/^microsync: [^\n]+\n$/);
    for (const part of bad.says) expect(ran.err).toContain(part);
    expect([ran.status, ran.out]).toEqual([bad.status, ""]);
    // A chain that could be opened has its database, and one that was written to its clock; nothing else may have come.
    const made =
      bad.chain?.startsWith("lmdb:./x?bytesMax") === true
        ? ["x", "x/data.mdb", "x/lock.mdb", ".sync", ".sync/clock"]
        : [];
    expect((await readdir(folder, { recursive: true })).sort()).toEqual([...before, ...made].sort());
    const json = await microsync(folder, [...bad.args, "--json"], { env, stdin: bad.stdin ?? "" });
    expect(json.status).toBe(bad.status);
    expect(jsonLines(json.err)).toMatchObject([{ error: { code: expect.any(String), message: expect.any(String) } }]);
  });

  // Root may write everywhere; the suite runs as root in some places, so the folder's owner is asked to be somebody.
  it.runIf(process.getuid?.() !== 0)("an unwritable folder is refused, and nothing left behind", async () => {
    const folder = await place();
    await mkdir(join(folder, "closed"));
    await chmod(join(folder, "closed"), 0o500);
    const ran = await microsync(folder, ["set", "k", "v", "--chain", "memory: lmdb:./closed/x"]);
    expect(ran.status).toBe(8);
    expect(ran.err).toMatch(/^microsync: lmdb:\.\/closed\/x: [^\n]+\n$/);
    expect(await readdir(join(folder, "closed"))).toEqual([]);
  });
});
