import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { chain } from "../../../src/chain/chain.ts";
import type { Chain } from "../../../src/chain/chain.ts";
import { layer } from "../../../src/chain/layer.ts";
import { journal } from "../../../src/config/journal-folder.ts";
import { NO_META } from "../../../src/entry.ts";
import type { Store } from "../../../src/store.ts";
import { memory } from "../../../src/stores/memory.ts";
import { syncOver } from "../../../src/sync.ts";
import type { Sync } from "../../../src/sync.ts";
import { systemRuntime as runtime } from "../../../src/system.ts";
import { formatVersion, versionClock } from "../../../src/version.ts";
import { microsync } from "../../cli/terminal.ts";
import { startProxy } from "../../servers/proxy.ts";
import type { Proxy } from "../../servers/proxy.ts";

/**
 * One table for every store with a server: the same faults, between or on both ends of a TCP proxy, while a chain with a
 * journal writes to it. Whatever happens: what was acknowledged during the fault is in the store afterwards, no call
 * outlives its deadline, no connection is left, and no secret is in anything that is said. docs/testing.md has the table.
 */
export interface Place {
  /** What the proxy stands in front of: `host:port`. */
  readonly target: string;
  /** Never to be seen. */
  readonly secrets: readonly string[];
  /** How many connections one store may have open at once. */
  readonly connectionsMax: number;
  /** How long the chain gives one of its calls, in milliseconds: well above what one takes when all is well. */
  readonly layerMs: number;
  /** The store by its URL, as the configuration takes it, on `host:port`; each space is empty at first. */
  url(endpoint: string, space: string): string;
  open(endpoint: string, space: string): Promise<Store>;
  /** The server ends; afterwards it is started again. */
  restart(meanwhile: () => Promise<void>): Promise<void>;
  /** Takes the store's credentials away. @returns what gives them back. */
  revoke(): Promise<() => Promise<void>>;
  /** Uses up what the server has room for, or why that cannot be done here. @returns what makes room again. */
  fill(space: string): Promise<(() => Promise<void>) | { readonly missing: string }>;
  close(): Promise<void>;
}

const KEYS = 40;
const WRITES_MIN = 30;
/** Noise, so that nothing on the way makes it small: a quota is soon reached. */
const PAD_BYTES = 8_000;
const CALL_MS = 500;
/** How much later than its deadline a call may be told, on a machine with much else to do. */
const LATE_MS_MAX = 3_000;

class Run {
  readonly proxy: Proxy;
  readonly place: Place;
  readonly space: string;
  /** What the chain said is durable: the newest text of each key. */
  readonly acknowledged = new Map<string, string>();
  private readonly said: string[] = [];
  private readonly folder = mkdtempSync(join(tmpdir(), "microsync-faults-"));
  private count = 0;
  private chain!: Chain;
  private db!: Sync;
  /** Beside the chain, to be called with deadlines. */
  private beside!: Store;

  constructor(place: Place, space: string, proxy: Proxy) {
    this.place = place;
    this.space = space;
    this.proxy = proxy;
  }

  async begin(): Promise<void> {
    const { endpoint } = this.proxy;
    const store = await this.place.open(endpoint, this.space);
    this.beside = await this.place.open(endpoint, this.space);
    const layers = [
      layer(memory({ runtime })),
      layer(store, { name: "far", deadlineMs: this.place.layerMs, breakerMs: 100, flushIntervalMs: 5 }),
    ];
    this.chain = chain(layers, {
      runtime,
      clock: await versionClock({ runtime }),
      journal: await journal(join(this.folder, "journal"), { runtime }),
      syncIntervalMs: 5,
      onReport: (report) => this.said.push(inspect(report)),
    });
    this.db = syncOver(this.chain);
    await this.writing(() => true);
    await this.flushed();
  }

  get failing(): boolean {
    const { failing, paused } = this.layer;
    return failing !== undefined || paused !== undefined;
  }

  get layer() {
    const status = this.chain.status().layers[1];
    if (status === undefined) throw new Error("the layer is gone");
    return status;
  }

  /** Writes, each acknowledged before the next, until it is over and there were enough. */
  async writing(isOver: () => boolean): Promise<void> {
    for (let done = 0; done < WRITES_MIN || !isOver(); done++) {
      const [key, text] = [`k${this.count % KEYS}`, `${this.count} ${noise(PAD_BYTES)}`];
      this.count++;
      await this.db.set(key, text);
      this.acknowledged.set(key, text);
    }
  }

  /** Every verb, on a store of its own, ends by its deadline; and so does the command line, in JSON. */
  async ends(): Promise<void> {
    const { beside } = this;
    const version = formatVersion(1.7e12, 0, "0".repeat(16));
    const value = { state: "value", value: new Uint8Array(9), version, expires: null, meta: NO_META } as const;
    const verbs: readonly (readonly [string, (options: { deadline: number }) => Promise<unknown>])[] = [
      ["read", (options) => beside.read(["x"], { authority: true, ...options })],
      ["write", (options) => beside.write([{ entry: { key: "x", ...value }, asOf: 0 }], options)],
      ["forget", (options) => beside.forget([{ key: "x", version, reason: "ghost" }], options)],
      ["list", (options) => drain(beside.list({ prefix: "x" }, options))],
      ["watch", (options) => drain(beside.watch({ prefix: "x" }, { initial: false, ...options }))],
    ];
    for (const [verb, call] of verbs) {
      const began = runtime.monotonic();
      const outcome: unknown = await call({ deadline: began + CALL_MS }).catch((error: unknown) => error);
      expect([verb, runtime.monotonic() - began < CALL_MS + LATE_MS_MAX]).toEqual([verb, true]);
      this.said.push(inspect(outcome, { depth: 9, showHidden: true }));
    }
    const chain = this.place.url(this.proxy.endpoint, this.space);
    const { out, err } = await microsync(this.folder, ["--json", "--timeout", "1s", "--chain", chain, "where", "x"]);
    expect(out + err).not.toBe("");
    this.said.push(out, err);
  }

  /** The layer may take its time to notice that it can be asked again: the test's own time is the bound. */
  private async flushed(): Promise<void> {
    for (let isDone = false; !isDone;) {
      isDone = await this.db.flush().then(
        () => true,
        (error: unknown) => {
          this.said.push(inspect(error, { depth: 9, showHidden: true }));
          return false;
        },
      );
    }
  }

  /** After the fault: everything acknowledged is in the store, seen past the proxy; and nothing is left open. */
  async verify(printed: string): Promise<void> {
    const { place, proxy, chain: whole } = this;
    await this.flushed();
    this.said.push(JSON.stringify(whole.status()), whole.name);
    const direct = await place.open(place.target, this.space);
    const keys = [...this.acknowledged.keys()];
    const answers = await direct.read(keys);
    const found = answers.map(({ entry }) =>
      entry?.value == null ? undefined : new TextDecoder().decode(entry.value),
    );
    expect(keys.filter((key, i) => found[i] !== this.acknowledged.get(key))).toEqual([]);
    await direct.close();
    await Promise.all([this.db.close(), this.beside.close()]);
    await proxy.idle();
    expect(proxy.open).toBe(0);
    expect(proxy.most).toBeGreaterThan(0);
    // The chain's store, the one beside it, and that of the command line.
    expect(proxy.most).toBeLessThanOrEqual(3 * place.connectionsMax);
    const everything = [...this.said, printed].join("\n");
    for (const secret of place.secrets) expect(everything).not.toContain(secret);
  }

  async end(): Promise<void> {
    this.proxy.mode("pass");
    this.proxy.cut();
    await this.db?.close();
    await this.beside?.close();
    await this.proxy.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

async function drain(items: AsyncIterable<unknown>): Promise<void> {
  for await (const item of items) void item;
}

let seed = 1;
function noise(bytes: number): string {
  const words: string[] = [];
  for (let at = 0; at < bytes; at += 8) {
    seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
    words.push(seed.toString(16).padStart(8, "0"));
  }
  return words.join("");
}

/** A flag that a promise raises. */
function once(promise: Promise<void>): () => boolean {
  let isThere = false;
  void promise.then(() => {
    isThere = true;
  });
  return () => isThere;
}

type Fault = (run: Run, skip: (why: string) => void) => Promise<void>;

/** The last one is the restart: some servers take long to recover from it. */
const FAULTS: readonly (readonly [string, Fault])[] = [
  [
    "connections that are reset in the middle of a batch",
    async (run) => {
      for (const bytes of [1, 2_000, 30_000]) await run.writing(once(run.proxy.cutAfter(bytes)));
    },
  ],
  [
    "answers that are lost after the effect",
    async (run) => {
      const isLost = once(run.proxy.answered());
      run.proxy.mode("lose answers");
      await run.writing(isLost);
      await run.ends();
    },
  ],
  [
    "a network that hangs",
    async (run) => {
      run.proxy.mode("hang");
      await run.writing(() => run.failing);
      await run.ends();
    },
  ],
  [
    "a network that is slow",
    async (run) => {
      run.proxy.delay(20);
      const before = run.layer.writes;
      await run.writing(() => run.layer.writes > before);
      await run.ends();
      run.proxy.delay(0);
    },
  ],
  [
    "credentials that are revoked",
    async (run) => {
      const giveBack = await run.place.revoke();
      try {
        await run.writing(() => run.failing);
        await run.ends();
      } finally {
        await giveBack();
      }
    },
  ],
  [
    "a quota that is used up",
    async (run, skip) => {
      const makeRoom = await run.place.fill(run.space);
      if ("missing" in makeRoom) return skip(makeRoom.missing);
      try {
        await run.writing(() => run.failing);
        await run.ends();
      } finally {
        await makeRoom();
      }
    },
  ],
  [
    "a server that is ended and started again",
    (run) =>
      run.place.restart(async () => {
        await run.writing(() => run.failing);
        await run.ends();
      }),
  ],
];

/** Declares the row of one store. Without its server the tests are skipped by name; under CI `start` has failed then. */
export function faultsOf(name: string, start: () => Promise<Place | { readonly missing: string }>): void {
  describe(`${name}: nothing acknowledged is lost, no call hangs, no connection is left and no secret is told, by`, () => {
    let place: Place | { readonly missing: string };
    let spaces = 0;
    beforeAll(async () => {
      place = await start();
    }, 120_000);
    afterAll(async () => {
      if ("close" in place) await place.close();
    });

    for (const [fault, happen] of FAULTS) {
      it(fault, { timeout: 90_000 }, async (context) => {
        if ("missing" in place) return context.skip(place.missing);
        const console = ["log", "info", "warn", "error", "debug"] as const;
        const spies = console.map((method) => vi.spyOn(globalThis.console, method));
        const run = new Run(place, `s${spaces++}`, await startProxy(place.target));
        try {
          await run.begin();
          await happen(run, (why) => context.skip(why));
          run.proxy.mode("pass");
          run.proxy.cut();
          await run.verify(
            inspect(
              spies.map(({ mock }) => mock.calls),
              { depth: 9 },
            ),
          );
        } finally {
          await run.end();
          for (const spy of spies) spy.mockRestore();
        }
      });
    }
  });
}
