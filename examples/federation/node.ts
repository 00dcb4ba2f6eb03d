import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { timed } from "../start/durations.ts";

/** How long a request and a start may take, on a machine that is busy with other things. */
const PATIENCE_MS = 60_000;

export interface NodeOptions {
  readonly name: string;
  /** Where its data and its journal are; made where it is missing. */
  readonly folder: string;
  /** The layers, nearest first; paths are relative to the folder. Asked at each start. */
  readonly chain: () => string;
  /** Ends what is under way. */
  readonly signal: AbortSignal;
}

/** What a node answered about a key. */
export interface Found {
  readonly status: number;
  /** Undefined: it says that there is no value. */
  readonly text: string | undefined;
  readonly version: string;
  /** The walk. */
  readonly cacheStatus: string;
}

/** A write as it was acknowledged. */
export interface Written {
  readonly key: string;
  /** Undefined: deleted. */
  readonly text: string | undefined;
  readonly version: string;
}

interface Page {
  readonly keys: readonly { readonly key: string }[];
  readonly cursor: string | null;
  readonly partial: readonly unknown[];
}

/** More keys than the tour has. */
const PAGE = 10_000;

/** `microsync serve` as a process: asked over HTTP, killed, cut off, and brought back on the same port and data. */
export class NodeProcess {
  readonly name: string;
  readonly #options: NodeOptions;
  #child: ChildProcess | undefined;
  #ended: Promise<number | null> = Promise.resolve(null);
  /** On standard error: its own words for why it ended. */
  #said = "";
  #port = 0;
  #isStopped = false;

  constructor(options: NodeOptions) {
    this.name = options.name;
    this.#options = options;
    mkdirSync(options.folder, { recursive: true });
  }

  /** Where others find it, from its first start on. */
  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  // ---- Its life. ----

  /** Resolves when it answers. @returns how long that took, in milliseconds. */
  async start(): Promise<number> {
    const [, ms] = await timed(() => this.#begin());
    return ms;
  }

  async #begin(): Promise<void> {
    const { folder, chain, signal } = this.#options;
    // An interruption may have come just before.
    signal.throwIfAborted();
    if (this.#isStopped) throw new Error(`${this.name} was stopped`);
    const how = ["--chain", chain(), "--journal", "journal", "--json", "serve", "--name", this.name];
    const child = spawn(process.execPath, [builtCommand(), ...how, "--listen", String(this.#port)], {
      cwd: folder,
      env: withoutOwn(process.env),
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#child = child;
    this.#ended = once(child, "close").then(() => child.exitCode);
    this.#said = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => (this.#said += text));
    const ended = this.#ended.then((status) => {
      throw new Error(`${this.name} ended with ${status ?? child.signalCode}: ${this.#said.trim()}`);
    });
    ended.catch(() => undefined);
    const [line] = (await Promise.race([once(createInterface(child.stdout), "line"), ended])) as [string];
    this.#port = Number(new URL((JSON.parse(line) as { listening: string }).listening).port);
  }

  /** As a crash does it. */
  async kill(): Promise<void> {
    this.#child?.kill("SIGKILL");
    await this.#ended;
  }

  /** Still there and reachable, but without an answer, as behind a network that swallows everything. */
  cutOff(): void {
    this.#child?.kill("SIGSTOP");
  }

  heal(): void {
    this.#child?.kill("SIGCONT");
  }

  /**
   * Tells it to end, whatever state it is in, and kills it if it has not after so many milliseconds. It is not started again.
   * @returns its exit status; null: it was killed.
   */
  async stop(patienceMs: number): Promise<number | null> {
    this.#isStopped = true;
    this.heal();
    this.#child?.kill("SIGTERM");
    const timer = setTimeout(() => this.#child?.kill("SIGKILL"), patienceMs);
    return this.#ended.finally(() => clearTimeout(timer));
  }

  throwIfInterrupted(): void {
    this.#options.signal.throwIfAborted();
  }

  // ---- What it is asked. ----

  /**
   * @param cacheControl how fresh the answer must be; default: as its own copies are.
   * @param timeoutMs how long the node may try.
   */
  async read(key: string, how: { readonly cacheControl?: string; readonly timeoutMs?: number } = {}): Promise<Found> {
    const asked: Record<string, string> = {};
    if (how.cacheControl !== undefined) asked["cache-control"] = how.cacheControl;
    if (how.timeoutMs !== undefined) asked["sync-timeout-ms"] = String(how.timeoutMs);
    const response = await this.#ask(pathOf(key), { headers: asked });
    const { status, headers } = response;
    const text = await response.text();
    return {
      status,
      text: status === 200 ? text : undefined,
      version: headers.get("sync-version") ?? "",
      cacheStatus: headers.get("cache-status") ?? "",
    };
  }

  /** Resolves when it is on the node's disk. */
  async write(key: string, text: string): Promise<Written> {
    const headers = { "content-type": "text/plain; charset=utf-8" };
    return { key, text, version: await this.#change(key, { method: "PUT", body: text, headers }) };
  }

  async delete(key: string): Promise<Written> {
    return { key, text: undefined, version: await this.#change(key, { method: "DELETE" }) };
  }

  async #change(key: string, init: RequestInit): Promise<string> {
    const answer = (await this.#well(pathOf(key), init)) as { readonly version: string };
    return answer.version;
  }

  /** Every key that has a value, and whether the list is whole. */
  async list(): Promise<{ readonly keys: readonly string[]; readonly isWhole: boolean }> {
    const page = (await this.#well(`/v1/kv?limit=${PAGE}`, { headers: { accept: "application/json" } })) as Page;
    return { keys: page.keys.map(({ key }) => key), isWhole: page.cursor === null && page.partial.length === 0 };
  }

  /** Resolves when everything written before is in every layer, also of the nodes below. */
  async flush(): Promise<void> {
    await this.#well("/v1/flush", { method: "POST" });
  }

  /** The sum of what its metric counts, of those lines that have all of the labels. */
  async metric(name: string, labels: Readonly<Record<string, string>> = {}): Promise<number> {
    const response = await this.#ask("/metrics", {});
    if (!response.ok) throw new Error(`${this.name} answered ${response.status} to /metrics`);
    const text = await response.text();
    const wanted = Object.entries(labels).map(([label, value]) => `${label}="${value}"`);
    const lines = text.split("\n").filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `));
    const counted = lines.filter((line) => wanted.every((part) => line.includes(part)));
    return counted.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" "))), 0);
  }

  async #well(path: string, init: RequestInit): Promise<unknown> {
    const response = await this.#ask(path, init);
    if (response.status === 200) return response.json();
    throw new Error(`${this.name} answered ${response.status} to ${path}: ${await response.text()}`);
  }

  async #ask(path: string, init: RequestInit): Promise<Response> {
    const { signal } = this.#options;
    try {
      const limit = AbortSignal.any([signal, AbortSignal.timeout(PATIENCE_MS)]);
      return await fetch(`${this.url}${path}`, { ...init, signal: limit });
    } catch (cause) {
      signal.throwIfAborted();
      throw new Error(`${this.name} does not answer ${path}. It said: ${this.#said.trim()}`, { cause });
    }
  }
}

function pathOf(key: string): string {
  return `/v1/kv/${key.split("/").map(encodeURIComponent).join("/")}`;
}

/** The command as the package's manifest names it. */
function builtCommand(): string {
  const manifest = new URL(import.meta.resolve("microsync/package.json"));
  const { bin } = JSON.parse(readFileSync(manifest, "utf8")) as { readonly bin: { readonly microsync: string } };
  return fileURLToPath(new URL(bin.microsync, manifest));
}

/** What is set for the user's own nodes is nothing to these. */
function withoutOwn(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith("MICROSYNC_")));
}
