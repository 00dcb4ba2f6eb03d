/**
 * The test server in a process of its own. It starts programs, which costs a process the more, the more memory it has, and
 * then a fault for each page that it changes: with the clients in it, what they keep would be counted as their time.
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { sleep } from "../../src/runtime.ts";
import { systemRuntime as runtime } from "../../src/system.ts";
import { githubServer } from "../../test/servers/github.ts";

export interface GithubProcess {
  readonly api: string;
  /** An empty repository of `octo`. @returns its folder. */
  create(name: string): Promise<string>;
  /** How many requests there were so far. */
  requests(): Promise<number>;
  close(): Promise<void>;
}

type Question = { readonly create: string } | "requests";

/** @param answersAfterMs what it waits for before each answer, as one does that is not on this machine. */
export async function startGithub(folder: string, answersAfterMs: number): Promise<GithubProcess> {
  const child = fork(fileURLToPath(import.meta.url), [folder, String(answersAfterMs)]);
  const ended = once(child, "exit");
  const next = async (): Promise<unknown> => {
    const [said] = (await Promise.race([
      once(child, "message"),
      ended.then(([code]) => Promise.reject(new Error(`the server ended with ${code}`))),
    ])) as [unknown];
    return said;
  };
  const ask = (question: Question) => {
    child.send(question);
    return next();
  };
  const api = String(await next());
  return {
    api,
    create: async (name) => String(await ask({ create: name })),
    requests: async () => Number(await ask("requests")),
    async close() {
      child.disconnect();
      await ended;
    },
  };
}

async function serve(folder: string, answersAfterMs: number): Promise<void> {
  const server = await githubServer(folder);
  if (answersAfterMs > 0) {
    server.extra = async () => {
      await sleep(runtime, answersAfterMs);
      return false;
    };
  }
  process.on("message", (question: Question) => {
    process.send?.(question === "requests" ? server.requests.length : server.create("octo", question.create));
  });
  process.on("disconnect", () => void server.close());
  process.send?.(server.api);
}

const [, main, folder, answersAfterMs] = process.argv;
if (main === fileURLToPath(import.meta.url) && folder !== undefined) await serve(folder, Number(answersAfterMs));
