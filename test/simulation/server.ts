import type { Entry, Head } from "../../src/entry.ts";
import { SyncError } from "../../src/error.ts";
import { sleep } from "../../src/runtime.ts";
import { failed } from "../../src/store.ts";
import type { CallOptions, Forget, ReadOptions, Store, Supports, Write, WriteResult } from "../../src/store.ts";
import { chaos } from "../../src/testing/chaos.ts";
import type { ChaosRates, ChaosStore } from "../../src/testing/chaos.ts";
import { ReferenceStore, referenceState } from "../../src/testing/reference.ts";
import type { ReferenceState } from "../../src/testing/reference.ts";
import type { SimulatedRuntime } from "../../src/testing/runtime.ts";
import { VERSION_ZERO } from "../../src/version.ts";
import type { Version } from "../../src/version.ts";

/** What a store held of a key from a moment on; no head: it was removed. */
export interface Commit {
  readonly atMs: number;
  readonly head: Head | undefined;
}

export interface ServerEvents {
  /** Before it is noted. */
  readonly onCommit: (server: Server, key: string, head: Head | undefined) => void;
  readonly log: (line: string) => void;
  readonly bad: (kind: string, what: string) => void;
}

/** How long a link takes at most beyond its deadline. */
export const LINK_MS_MAX = 170;

/** A store that several nodes share: what it holds, when it held what, and everything that can go wrong in it. */
export class Server {
  readonly name: string;
  readonly state: ReferenceState = referenceState();
  readonly history = new Map<string, Commit[]>();
  /** The store as it is, without any misfortune. */
  readonly direct: ReferenceStore;
  /** It refuses everybody, until somebody puts that right. */
  unauthorised = false;
  /** For the time being it cannot take writes of these keys. */
  stuck: ((key: string) => boolean) | undefined;
  /** It never takes values that say so. */
  picky = true;
  private readonly runtime: SimulatedRuntime;

  constructor(runtime: SimulatedRuntime, name: string, supports: Partial<Supports>, events: ServerEvents) {
    this.name = name;
    this.runtime = runtime;
    const { state, history } = this;
    const role = supports.durable === true ? "store" : "cache";
    const note = (key: string, before: Head | undefined) => {
      const head = state.copies.get(key)?.entry;
      events.log(`${name} has ${head === undefined ? "nothing" : `${head.state} ${head.version}`} of ${key}`);
      events.onCommit(this, key, head);
      if (role === "cache") return;
      const isBack = head !== undefined && before !== undefined && head.version < before.version;
      if (isBack) events.bad("version went back", `${name} went from ${before.version} to ${head.version} of ${key}`);
      const commits = history.get(key) ?? [];
      history.set(key, commits);
      commits.push({ atMs: runtime.monotonic(), head });
    };
    this.direct = new (class extends ReferenceStore {
      private before = new Map<string, Head>();

      protected override commit(key: string): void {
        super.commit(key);
        note(key, this.before.get(key));
        const now = this.state.copies.get(key)?.entry;
        if (now === undefined) this.before.delete(key);
        else this.before.set(key, now);
      }
    })({ runtime, name, supports, state });
  }

  versionOf(key: string): Version {
    return this.state.copies.get(key)?.entry.version ?? VERSION_ZERO;
  }

  entryOf(key: string): Entry | undefined {
    return this.state.copies.get(key)?.entry;
  }

  /** The newest that it ever had of a key up to a moment. */
  newestAt(key: string, atMs: number): Head | undefined {
    let newest: Head | undefined;
    for (const { atMs: at, head } of this.history.get(key) ?? []) {
      if (at > atMs) break;
      if (head !== undefined && (newest === undefined || head.version > newest.version)) newest = head;
    }
    return newest;
  }

  /** A cache forgets. */
  evict(key: string): void {
    this.state.copies.delete(key);
  }

  /** One node's way to it. */
  link(seed: number, slowness: () => number): Link {
    return link(this, this.runtime, seed, slowness);
  }

  /** Calls as the server judges them. */
  readonly served: Store["write"] = async (writes, options) => {
    if (this.unauthorised) {
      const cure = "give it new credentials";
      throw new SyncError("UNAUTHORISED", "the credentials are refused", { store: this.name, cure });
    }
    const results = writes.map((write) => this.refused(write));
    const taken = await this.direct.write(
      writes.filter((_, i) => results[i] === undefined),
      options,
    );
    return results.map((refused) => refused ?? (taken.shift() as WriteResult));
  };

  private refused({ entry: { key, value } }: Write): WriteResult | undefined {
    const details = { store: this.name, key };
    if (this.stuck?.(key) === true) return failed(new SyncError("UNAVAILABLE", "not now", details));
    const isPoison = this.picky && value !== null && new TextDecoder().decode(value).includes(`!${this.name}`);
    return isPoison ? failed(new SyncError("INVALID", `${this.name} never takes such a value`, details)) : undefined;
  }
}

export interface Link extends ChaosStore {
  readonly server: string;
  usual(): void;
}

function link(server: Server, runtime: SimulatedRuntime, seed: number, slowness: () => number): Link {
  const { direct } = server;
  const inner: Store = {
    name: direct.name,
    supports: direct.supports,
    async read(keys: readonly string[], options?: ReadOptions) {
      const answers = await direct.read(keys, options);
      // What the answer says may be old when it comes.
      const lateMs = slowness();
      if (lateMs > 0) await sleep(runtime, lateMs, options?.signal);
      return answers;
    },
    write: (items: readonly Write[], options?: CallOptions) => server.served(items, options),
    forget: (items: readonly Forget[], options?: CallOptions) => direct.forget(items, options),
    list: direct.list.bind(direct),
    watch: direct.watch.bind(direct),
    close: () => Promise.resolve(),
  };
  const store = chaos(inner, { runtime, seed, delayMsMax: LINK_MS_MAX, traceMax: 10 });
  const rates: ChaosRates =
    server.name === "region" ? { delay: 0.5, before: 0.15, after: 0.1 } : { delay: 0.1, before: 0.02, after: 0.01 };
  const usual = () => store.storm(rates);
  return Object.assign(store, { server: server.name, usual });
}
