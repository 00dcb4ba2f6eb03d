import { SyncError } from "../../error.ts";
import type { NewCommit } from "../git-layout/repository.ts";
import type { Git, Running } from "./command.ts";
import { gitError } from "./command.ts";
import { feed } from "./feed.ts";
import type { Feed } from "./feed.ts";

/** Makes commits of few files by `git fast-import`, one process for many. No reference is moved: the caller publishes the commit. */
export interface Importer {
  /** The id of the commit, when it and all it needs are on disk. One at a time. */
  commit(commit: NewCommit): Promise<string>;
  close(): Promise<void>;
}

/**
 * After so many files the process is replaced: it remembers every object that it made, and every name in each folder that
 * it has read, and looks each up among all.
 */
const FILES_MAX = 2_000;
/** A name that is gone before any reference of it could be written. */
const SCRATCH = "refs/microsync/scratch";

export function importer(git: Git): Importer {
  let session: Session | undefined;
  let files = 0;

  const end = async () => {
    const old = session;
    session = undefined;
    files = 0;
    await old?.close();
  };

  return {
    async commit(commit) {
      if (session?.over === true) session = undefined;
      if (files >= FILES_MAX) await end();
      session ??= new Session(git);
      files += commit.files.length + commit.deletes.length;
      return session.commit(commit);
    },
    close: end,
  };
}

class Session {
  over = false;
  private readonly running: Running;
  private readonly feed: Feed;
  private readonly ended: Promise<void>;
  private text = "";
  private waiting: { resolve(line: string): void; reject(error: SyncError): void } | undefined;
  private readonly lines: string[] = [];

  constructor(git: Git) {
    this.running = git.start(["fast-import", "--quiet", "--date-format=raw"]);
    const { child } = this.running;
    this.feed = feed(child);
    child.stdout?.setEncoding("utf8");
    child.stdout?.on("data", (chunk: string) => this.take(chunk));
    this.ended = new Promise((resolve) => {
      const over = (error: SyncError) => {
        this.over = true;
        this.waiting?.reject(error);
        this.waiting = undefined;
      };
      child.on("error", (error) => over(new SyncError("NOT_FOUND", "git could not be started", { cause: error })));
      child.on("close", () => {
        over(gitError("fast-import", this.running.stderr()));
        resolve();
      });
    });
  }

  async commit({ parent, message, author, timeMs, deletes, files }: NewCommit): Promise<string> {
    const head = [
      `commit ${SCRATCH}`,
      "mark :1",
      `committer ${author} ${Math.floor(timeMs / 1000)} +0000`,
      `data ${Buffer.byteLength(message)}`,
      message,
      ...(parent === null ? [] : [`from ${parent}`]),
      ...deletes.map((path) => `D ${quoted(path)}`),
    ];
    let text = `${head.join("\n")}\n`;
    for (const { path, content } of files) {
      if (typeof content === "string") {
        text += `M 100644 ${content} ${quoted(path)}\n`;
        continue;
      }
      text += `M 100644 inline ${quoted(path)}\ndata ${content.length}\n`;
      if (content.length > 0) {
        await this.feed.write(text);
        await this.feed.write(content);
        text = "";
      }
      text += "\n";
    }
    await this.feed.write(`${text}\nget-mark :1\nreset ${SCRATCH}\n\ncheckpoint\nprogress on disk\n`);
    await this.feed.flush();
    const id = await this.line();
    const done = await this.line();
    if (!/^[0-9a-f]{40,64}$/.test(id) || done !== "progress on disk") {
      throw new SyncError("INTERNAL", `fast-import said ${JSON.stringify(id.slice(0, 80))}`);
    }
    return id;
  }

  async close(): Promise<void> {
    this.running.child.stdin?.end();
    await this.ended;
  }

  private line(): Promise<string> {
    const line = this.lines.shift();
    if (line !== undefined) return Promise.resolve(line);
    if (this.over) return Promise.reject(gitError("fast-import", this.running.stderr()));
    return new Promise((resolve, reject) => {
      this.waiting = { resolve, reject };
    });
  }

  private take(chunk: string): void {
    const parts = (this.text + chunk).split("\n");
    this.text = parts.pop() ?? "";
    for (const line of parts) {
      if (this.waiting === undefined) this.lines.push(line);
      else {
        this.waiting.resolve(line);
        this.waiting = undefined;
      }
    }
  }
}

/** A path as fast-import reads it whatever characters it holds: C quoting. */
function quoted(path: string): string {
  return `"${path.replace(/[\\"]/g, "\\$&").replaceAll("\n", "\\n")}"`;
}
