import { SyncError } from "../../error.ts";
import type { NewCommit } from "../git-layout/repository.ts";
import type { Git, Running } from "./command.ts";
import { gitError } from "./command.ts";

/** Makes commits by `git fast-import`, one process for many. No reference is moved: the caller publishes the commit. */
export interface Importer {
  /** The id of the commit, when it and all it needs are on disk. One at a time. */
  commit(commit: NewCommit): Promise<string>;
  close(): Promise<void>;
}

/** After so many commits the process is replaced: it remembers every object that it made. */
const COMMITS_MAX = 1_000;
/** Below git's limit (fastimport.unpackLimit, 100 objects), objects become files of their own. */
const PACKED_FROM = 30;
/** A name that is gone before any reference of it could be written. */
const SCRATCH = "refs/microsync/scratch";

export function importer(git: Git): Importer {
  let session: Session | undefined;
  let commits = 0;

  const end = async () => {
    const old = session;
    session = undefined;
    commits = 0;
    await old?.close();
  };

  return {
    async commit(commit) {
      if (session?.over === true) session = undefined;
      if (commits >= COMMITS_MAX) await end();
      session ??= new Session(git);
      commits++;
      const id = await session.commit(commit);
      // A large commit stays a pack, which the process marks as to be kept for as long as it lives.
      if (commit.files.length > PACKED_FROM) await end();
      return id;
    },
    close: end,
  };
}

class Session {
  over = false;
  private readonly running: Running;
  private readonly ended: Promise<void>;
  private text = "";
  private waiting: { resolve(line: string): void; reject(error: SyncError): void } | undefined;
  private readonly lines: string[] = [];

  constructor(git: Git) {
    this.running = git.start(["fast-import", "--quiet", "--date-format=raw"]);
    const { child } = this.running;
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
    const stdin = this.running.child.stdin;
    if (stdin === null) throw new SyncError("INTERNAL", "fast-import has no input");
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
        // Small pieces go together: a system call costs more than copying them.
        await this.write(text);
        await this.write(content);
        text = "";
      }
      text += "\n";
    }
    await this.write(`${text}\nget-mark :1\nreset ${SCRATCH}\n\ncheckpoint\nprogress on disk\n`);
    await this.flush();
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

  private pieces: Uint8Array[] = [];
  private piecesBytes = 0;

  private async write(piece: string | Uint8Array): Promise<void> {
    const bytes = typeof piece === "string" ? Buffer.from(piece, "utf8") : piece;
    this.pieces.push(bytes);
    this.piecesBytes += bytes.length;
    if (this.piecesBytes > 256 * 1024) await this.flush();
  }

  private async flush(): Promise<void> {
    const all = Buffer.concat(this.pieces);
    this.pieces = [];
    this.piecesBytes = 0;
    if (this.over) throw gitError("fast-import", this.running.stderr());
    const stdin = this.running.child.stdin;
    if (stdin?.write(all) === false) {
      await new Promise<void>((resolve) => {
        const go = () => {
          stdin.off("drain", go).off("close", go).off("error", go);
          resolve();
        };
        stdin.once("drain", go).once("close", go).once("error", go);
      });
    }
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
