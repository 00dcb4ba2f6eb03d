import type { Chain } from "../../src/chain/chain.ts";
import { layer } from "../../src/chain/layer.ts";
import { isDead } from "../../src/entry.ts";
import type { Head } from "../../src/entry.ts";
import { SyncError } from "../../src/error.ts";
import { sleep } from "../../src/runtime.ts";
import type { Store } from "../../src/store.ts";
import { chaos } from "../../src/testing/chaos.ts";
import type { ChaosStore } from "../../src/testing/chaos.ts";
import { random } from "../../src/testing/index.ts";
import type { ReferenceState } from "../../src/testing/index.ts";
import { VERSION_ZERO } from "../../src/version.ts";
import type { Version } from "../../src/version.ts";
import { readOne, stampOf, world } from "./world.ts";

/**
 * Several processes over the same shared stores, in simulated time, with everything going wrong that can: layers that
 * fail, hang, lose answers, forget; watches that break and gap. What they see is compared with what the authority had
 * when. A seed is a run.
 */
const PROCESSES = 3;
const STEPS = 150;
const KEYS = ["a", "b"];
const COUNTER = "counter";
const TTL_MS = { memory: 800, region: 1_500 };
const STORE_TTL_MS = 2_000;
const NEGATIVE_MS = 500;
const DEADLINE_MS = 150;

interface Process {
  readonly name: string;
  readonly chain: Chain;
  readonly layers: readonly ChaosStore[];
  /** What it must not go back behind: written and acknowledged, or answered as fresh. */
  readonly known: Map<string, Head>;
  /** Acknowledged writes, for `flush`. */
  readonly acked: Map<string, Version>;
}

interface Commit {
  readonly atMs: number;
  readonly head: Head;
}

/** Runs one seed. @returns what broke; empty when all held. */
export async function simulate(seed: number, trace?: (line: string) => void): Promise<string[]> {
  const w = await world(seed);
  const chance = random(seed ^ 0x5eed);
  const broken: string[] = [];
  const log = (line: string) => trace?.(`${String(w.runtime.monotonic()).padStart(7)} ${line}`);
  const bad = (what: string) => {
    log(`*** ${what}`);
    broken.push(`seed ${seed}, at ${w.runtime.monotonic()} ms: ${what}`);
  };

  const withSql = chance.chance(0.6);
  const [region, sql] = [w.store("region", { shared: true }), w.store("sql", { durable: true, shared: true })];
  const git = w.store("git", { durable: true, shared: true, conditional: !withSql, stubs: false });
  const truths = withSql ? [sql, git] : [git];
  const authority = truths[0] ?? git;
  const history = recorded(authority.direct, authority.state, () => w.runtime.now(), log);

  const watch = chance.chance(0.4);
  // A cache of several machines is always a little slow, lossy and forgetful; the stores are a little slow.
  const usual = (store: ChaosStore, n: number) =>
    store.storm(n === 0 ? { delay: 0.5, before: 0.15, after: 0.1 } : { delay: 0.1, before: 0.02, after: 0.01 });

  let healed = false;
  /** Answers that come some time after the data was looked at: what they say may be old by then. */
  const slowAnswers = (store: Store): Store => ({
    name: store.name,
    supports: store.supports,
    async read(keys, options) {
      const answers = await store.read(keys, options);
      if (!healed && chance.chance(0.4)) await sleep(w.runtime, chance.below(DEADLINE_MS), options?.signal);
      return answers;
    },
    write: store.write.bind(store),
    forget: store.forget.bind(store),
    list: store.list.bind(store),
    watch: store.watch.bind(store),
    close: store.close.bind(store),
  });

  const processes: Process[] = [];
  for (let i = 0; i < PROCESSES; i++) {
    const name = "ABC"[i] ?? "?";
    const wrap = (store: Store, n: number) =>
      chaos(slowAnswers(store), { runtime: w.runtime, seed: seed * 100 + i * 10 + n, delayMsMax: DEADLINE_MS + 20 });
    const near = wrap(region.direct, 0);
    const stores = truths.map((truth, n) => wrap(truth.direct, n + 1));
    const times = { graceMs: 3_000, deadlineMs: DEADLINE_MS, breakerMs: 300, breakerFailures: 4 };
    const chain = await w.process(
      [
        layer(w.memory({ entriesMax: chance.pick([1, 2, 100]) }), { name: "memory", ttlMs: TTL_MS.memory, ...times }),
        layer(near, { name: "region", ttlMs: TTL_MS.region, ...times, staleWhileRefresh: chance.chance(0.3) }),
        ...stores.map((store, n) =>
          layer(store, { ...times, watch, name: n === 0 ? "first" : "git", role: "store", ttlMs: STORE_TTL_MS }),
        ),
      ],
      { negativeTtlMs: NEGATIVE_MS, retentionMs: 3_600_000, name },
    );
    for (const [n, store] of [near, ...stores].entries()) usual(store, n);
    processes.push({ name, chain, layers: [near, ...stores], known: new Map(), acked: new Map() });
  }
  await w.runtime.settle();

  const pending = new Set<Promise<void>>();
  const spawn = (work: Promise<void>) => {
    const tracked: Promise<void> = work
      .catch((error: unknown) => bad(`an operation threw ${String(error)}`))
      .finally(() => pending.delete(tracked));
    pending.add(tracked);
  };
  const learn = (known: Map<string, Head>, head: Head) => {
    if ((known.get(head.key)?.version ?? VERSION_ZERO) < head.version) known.set(head.key, head);
  };
  const newestAt = (key: string, atMs: number): Head | undefined => {
    let newest: Head | undefined;
    for (const { head, atMs: at } of history.get(key) ?? []) {
      if (at <= atMs && (newest === undefined || head.version > newest.version)) newest = head;
    }
    return newest;
  };

  let counted = { sure: 0, maybe: 0 };
  const operations = {
    async set(p: Process, key: string) {
      const expires = chance.chance(0.2) ? w.runtime.now() + chance.below(2_000) : null;
      const deletes = chance.chance(0.3);
      const version = stampOf(w.clock);
      const entry = deletes ? w.tombstone(key, { version }) : w.value(key, `${p.name}${version}`, { version, expires });
      const ack = chance.chance(0.3) ? "first" : undefined;
      const [result] = await p.chain.write([w.write(entry)], { ack });
      log(`${p.name} ${deletes ? "delete" : "set"} ${key} ${version} ack=${ack ?? "all"}: ${result?.status}`);
      if (result?.status !== "stored") return;
      learn(p.known, entry);
      if ((p.acked.get(key) ?? VERSION_ZERO) < version) p.acked.set(key, version);
    },
    async get(p: Process, key: string) {
      const kind = chance.pick(["cached", "cached", "cached", "maxAge", "authority"] as const);
      const maxAgeMs = chance.below(1_000);
      const startedAt = w.runtime.now();
      const known = p.known.get(key);
      const boundMs = kind === "authority" ? 0 : kind === "maxAge" ? maxAgeMs : STORE_TTL_MS;
      const owed = newestAt(key, startedAt - boundMs);
      const slot = kind === "cached" ? p.chain.look(key) : undefined;
      let answer;
      try {
        answer =
          slot === undefined
            ? await readOne(
                p.chain,
                key,
                kind === "cached" ? {} : kind === "maxAge" ? { maxAgeMs } : { authority: true },
              )
            : { entry: slot.entry, stale: false, from: "look" };
      } catch (error) {
        log(`${p.name} get ${key} ${kind}: ${String(error)}`);
        if (!(error instanceof SyncError && error.code === "UNAVAILABLE"))
          bad(`${p.name} get ${key}: ${String(error)}`);
        return;
      }
      const { entry, stale, from } = answer;
      const said = `${p.name} get ${key} ${kind}: ${entry?.state} ${entry?.version} stale=${stale} from ${from}`;
      log(said);
      const now = w.runtime.now();
      const isNone = entry === undefined || isDead(entry, now);
      if (isNone && stale) bad(`${said}: "none" may not be stale`);
      if (kind === "authority" && stale) bad(`${said}: authority may not be stale`);
      const version = entry?.version ?? VERSION_ZERO;
      const below = (head: Head | undefined) =>
        head !== undefined && version < head.version && !(isNone && isDead(head, now));
      if (below(known)) bad(`${said}: it knows ${known?.version}`);
      if (!stale && below(owed)) bad(`${said}: the authority had ${owed?.version} ${boundMs} ms before`);
      if (!stale && entry !== undefined) learn(p.known, entry);
    },
    async count(p: Process) {
      let base;
      try {
        base = (await readOne(p.chain, COUNTER, { authority: true })).entry;
      } catch {
        return;
      }
      const value = base?.value === null || base === undefined ? 0 : Number(new TextDecoder().decode(base.value));
      const version = stampOf(w.clock, base?.version);
      const entry = w.value(COUNTER, String(value + 1), { version });
      const [result] = await p.chain.write([w.write(entry, base === undefined ? "absent" : base.version)]);
      const code = result?.status === "failed" ? result.error.code : "";
      const stored = result?.status === "failed" && result.error.message.includes("stored in");
      log(`${p.name} count ${value + 1} ${version}: ${result?.status} ${code}`);
      if (result?.status === "stored" || stored) counted = { ...counted, sure: counted.sure + 1 };
      else if (code === "INDETERMINATE") counted = { ...counted, maybe: counted.maybe + 1 };
    },
    async flush(p: Process) {
      const owed = new Map(p.acked);
      try {
        await p.chain.flush();
      } catch (error) {
        log(`${p.name} flush: ${String(error)}`);
        return;
      }
      for (const [key, version] of owed) {
        for (const { name, state } of truths) {
          const has = state.copies.get(key)?.entry.version ?? VERSION_ZERO;
          if (has < version) bad(`${p.name} flush resolved, but ${name} has ${has} of ${key}, not ${version}`);
        }
      }
      log(`${p.name} flush`);
    },
    async list(p: Process) {
      const owed = KEYS.map((key) => newestAt(key, w.runtime.now()));
      const seen = new Map<string, Head | null>();
      for await (const item of p.chain.list({ prefix: "" }, { detail: "entries" })) {
        if (item.kind === "partial") return;
        seen.set(item.key, item.head);
      }
      for (const head of owed) {
        if (head === undefined) continue;
        if ((seen.get(head.key)?.version ?? VERSION_ZERO) < head.version) bad(`${p.name} list lacks ${head.key}`);
      }
    },
  };

  const trouble = () => {
    const p = chance.pick(processes);
    const store = chance.pick(p.layers);
    const what = chance.below(6);
    log(`trouble ${what} for ${p.name} ${store.name}`);
    if (what === 0) store.down();
    else if (what === 1) store.hang({ late: chance.chance(0.5), verbs: ["read", "write", "list", "forget"] });
    else if (what === 2) store.storm({ before: 0.2, after: 0.2, delay: 0.4, midway: 0.1, relist: 0.1 });
    else {
      store.up();
      store.resume();
      usual(store, p.layers.indexOf(store));
    }
  };

  for (let step = 0; step < STEPS; step++) {
    const p = chance.pick(processes);
    const key = chance.pick(KEYS);
    const roll = chance.below(100);
    if (roll < 25) spawn(operations.set(p, key));
    else if (roll < 75) spawn(operations.get(p, key));
    else if (roll < 82) spawn(operations.count(p));
    else if (roll < 85) spawn(operations.flush(p));
    else if (roll < 88) spawn(operations.list(p));
    else trouble();
    if (chance.chance(0.1)) region.state.copies.delete(chance.pick(KEYS));
    await w.runtime.advance(chance.chance(0.3) ? 0 : chance.below(chance.chance(0.05) ? 3_000 : 60));
  }

  healed = true;
  for (const { layers } of processes) {
    for (const store of layers) {
      store.up();
      store.resume();
      store.storm({});
    }
  }
  await w.runtime.advance(120_000);
  if (pending.size > 0) bad(`${pending.size} operations never ended`);
  for (const p of processes) await p.chain.flush().catch((error: unknown) => bad(`the last flush: ${String(error)}`));
  await w.runtime.advance(1);
  for (const key of [...KEYS, COUNTER]) {
    const copies = truths.map(({ state }) => state.copies.get(key)?.entry);
    // A write whose answer the authority lost was not acknowledged: without a journal nobody carries it further down.
    const deepest = copies.at(-1)?.version ?? VERSION_ZERO;
    const owed = processes.map(({ acked }) => acked.get(key) ?? VERSION_ZERO).reduce((a, b) => (a > b ? a : b));
    if (deepest > (copies[0]?.version ?? VERSION_ZERO) || deepest < owed) {
      bad(`the stores disagree on ${key}: ${copies.map((entry) => entry?.version).join(" ")}, acknowledged ${owed}`);
    }
    for (const p of processes) {
      for (const options of [{}, { authority: true }]) {
        const answer = await readOne(p.chain, key, options).catch((error: unknown) => String(error));
        const entry = typeof answer === "string" ? undefined : answer.entry;
        const dead = (head: Head | undefined) => head === undefined || isDead(head, w.runtime.now());
        const same = entry?.version === copies[0]?.version || (dead(entry) && dead(copies[0]));
        if (typeof answer === "string" || answer.stale || !same) {
          bad(`at the end ${p.name} has ${typeof answer === "string" ? answer : entry?.version} of ${key}`);
        }
      }
    }
  }
  const { value } = truths[0]?.state.copies.get(COUNTER)?.entry ?? { value: null };
  const total = value === null ? 0 : Number(new TextDecoder().decode(value));
  if (total < counted.sure || total > counted.sure + counted.maybe) {
    bad(`the counter is ${total}, counted ${counted.sure}, perhaps ${counted.maybe} more`);
  }
  for (const { chain } of processes) {
    const closed = chain.close();
    await w.runtime.advance(1_000);
    await closed;
  }
  return broken;
}

/** Notes which versions a store took, and when. */
function recorded(store: Store, state: ReferenceState, now: () => number, log: (line: string) => void) {
  const history = new Map<string, Commit[]>();
  const write = store.write.bind(store);
  store.write = async (writes, options) => {
    const results = await write(writes, options);
    for (const { entry } of writes) {
      const held = state.copies.get(entry.key)?.entry;
      if (held === undefined) continue;
      const commits = history.get(entry.key) ?? [];
      history.set(entry.key, commits);
      if (commits.at(-1)?.head.version === held.version) continue;
      commits.push({ atMs: now(), head: held });
      log(`authority has ${held.state} ${entry.key} ${held.version}`);
    }
    return results;
  };
  return history;
}
