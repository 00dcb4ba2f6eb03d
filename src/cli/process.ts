import type { Writable } from "node:stream";
import { SyncError } from "../error.ts";
import { systemRuntime } from "../system.ts";
import { OutputClosed } from "./io.ts";
import type { Io, Output } from "./io.ts";

/** The process as the command line sees it. */
export function processIo(signal: AbortSignal): Io {
  const { stdin, stdout, stderr, env } = process;
  return {
    // Opened when it is first read: most commands never do.
    stdin: { [Symbol.asyncIterator]: () => stdin[Symbol.asyncIterator]() as AsyncIterator<Uint8Array> },
    stdinIsTTY: stdin.isTTY,
    stdout: output(stdout, "standard output"),
    stderr: output(stderr, "standard error"),
    env,
    folder: process.cwd(),
    signal,
    runtime: systemRuntime,
  };
}

function output(stream: Writable & { readonly isTTY?: boolean; readonly columns?: number }, name: string): Output {
  let closed = false;
  stream.on("error", () => {
    closed = true; // the write that met it is told below
  });
  return {
    isTTY: stream.isTTY === true,
    get columns() {
      return stream.columns;
    },
    write(data) {
      if (closed || stream.destroyed) return Promise.reject(new OutputClosed());
      return new Promise((resolve, reject) => {
        stream.write(data, (error) => {
          if (error === null || error === undefined) resolve();
          else if ("code" in error && error.code === "EPIPE") reject(new OutputClosed());
          else reject(unwritable(name, error));
        });
      });
    },
  };
}

function unwritable(name: string, cause: Error): SyncError {
  const reason = "code" in cause ? String(cause.code) : cause.message;
  return new SyncError("UNAVAILABLE", `${name} cannot be written: ${reason}`, {
    cure: "make room, or send it elsewhere",
    retryable: false,
    cause,
  });
}
