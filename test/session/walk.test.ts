import { cpSync, mkdtempSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { execFileSync } from "node:child_process";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it, test } from "vitest";
import { jsonLines, microsync } from "../cli/terminal.ts";
import { root } from "../project.ts";
import { reachable } from "../servers/apt.ts";
import { startPostgres } from "../servers/postgres.ts";
import { radosgw } from "../servers/radosgw.ts";

/**
 * As somebody new would: a repository of files copied into object storage and into a database, changed by a person,
 * mirrored again, compared; all of it by the command.
 */
const ceph = await reachable(radosgw);
const database = await reachable(startPostgres);

const PERSON = {
  GIT_AUTHOR_NAME: "Ada",
  GIT_AUTHOR_EMAIL: "ada@example.org",
  GIT_COMMITTER_NAME: "Ada",
  GIT_COMMITTER_EMAIL: "ada@example.org",
  GIT_CONFIG_NOSYSTEM: "1",
  GIT_CONFIG_GLOBAL: "/dev/null",
};

if ("missing" in ceph || "missing" in database) {
  const missing = [ceph, database].flatMap((found) => ("missing" in found ? [found.missing] : [])).join("; ");
  test(`the walk is not tested: ${missing}`, (context) => context.skip(missing));
} else {
  const folder = mkdtempSync(join(tmpdir(), "microsync-walk-"));
  const git = (where: string, ...args: readonly string[]) =>
    execFileSync("git", args, {
      cwd: join(folder, where),
      env: { ...process.env, ...PERSON },
      stdio: "pipe",
    }).toString();
  const run = (...args: readonly string[]) => microsync(folder, args);
  const truth = "git:./truth.git#main";
  const { url, accessKeyId, secretAccessKey } = ceph.server;
  const keys = `accessKeyId=${accessKeyId}&secretAccessKey=${secretAccessKey}`;
  const bucket = `s3://walk/site/?endpoint=${encodeURIComponent(url)}&create=true&${keys}`;
  let table: string;

  beforeAll(async () => {
    table = `${await database.server.database()}?create=true`;
    git("", "init", "--quiet", "--bare", "--initial-branch=main", "truth.git");
    git("", "clone", "--quiet", "truth.git", "work");
    git("work", "checkout", "--quiet", "-b", "main");
    for (const name of ["docs", "src", "README.md"])
      cpSync(resolve(root, name), join(folder, "work", name), { recursive: true });
    git("work", "add", "-A");
    git("work", "commit", "--quiet", "-m", "everything");
    git("work", "push", "--quiet", "origin", "main");
  });
  afterAll(async () => {
    await ceph.server.stop();
    database.server.close();
    rmSync(folder, { recursive: true, force: true });
  });

  describe("a repository of files", () => {
    it(
      "goes into object storage and into a database, and again after a person changed it",
      { timeout: 300_000 },
      async () => {
        const files = git("work", "ls-files").trim().split("\n");
        expect(files.length).toBeGreaterThan(300);
        for (const target of [bucket, table]) {
          const dry = await run("copy", "--json", "--dry-run", truth, target);
          expect(jsonLines(dry.out).at(-1)).toMatchObject({ copied: files.length, dryRun: true });
          const copied = await run("copy", "--json", truth, target);
          expect(copied.err).toBe("");
          expect(jsonLines(copied.out).at(-1)).toMatchObject({ copied: files.length, failed: 0 });
          expect(await run("diff", "--brief", truth, target)).toMatchObject({ status: 0, out: "" });
        }

        writeFileSync(join(folder, "work/README.md"), "# Changed by a person\n");
        writeFileSync(join(folder, "work/docs/new page.md"), "new\n");
        rmSync(join(folder, "work/src/stores/git"), { recursive: true });
        mkdirSync(join(folder, "work/docs/cli.md.d"));
        cpSync(join(folder, "work/docs/cli.md"), join(folder, "work/docs/cli.md.d/copy.md"));
        git("work", "add", "-A");
        git("work", "commit", "--quiet", "-m", "a person's changes");
        git("work", "push", "--quiet", "origin", "main");

        const gone = files.filter((path) => path.startsWith("src/stores/git/")).map((path) => `- ${path}`);
        const changes = ["* README.md", "+ docs/cli.md.d/copy.md", "+ docs/new page.md", ...gone];
        for (const target of [bucket, table]) {
          const before = await run("diff", "--brief", truth, target);
          expect([before.status, before.out.trimEnd().split("\n")]).toEqual([1, changes]);
          expect(await run("mirror", "--max-delete", "1", truth, target)).toMatchObject({ status: 12 });
          const mirrored = await run("mirror", "--json", truth, target);
          expect(jsonLines(mirrored.out).at(-1)).toMatchObject({ copied: 3, deleted: gone.length, failed: 0 });
          expect(await run("diff", "--brief", truth, target)).toMatchObject({ status: 0, out: "" });
        }
        expect(await run("diff", "--brief", "--compare", "content", bucket, table)).toMatchObject({
          status: 0,
          out: "",
        });

        // What other tools see: the object is the file.
        expect((await run("copy", bucket, "file:./out")).status).toBe(0);
        for (const path of ["README.md", "docs/new page.md", "src/store.ts"]) {
          expect(readFileSync(join(folder, "out", path))).toEqual(readFileSync(join(folder, "work", path)));
        }
      },
    );
  });
}
