import { NO_META, stubOf } from "../../src/entry.ts";
import type { Entry } from "../../src/entry.ts";
import { formatVersion } from "../../src/version.ts";
import type { Violation } from "./facts.ts";
import { JOURNAL, RETENTION_MS } from "./node.ts";
import { Stage } from "./stage.ts";
import type { Fixed, Topology } from "./world.ts";

/** One thing after the other, for what chance finds too rarely. What is checked is what is checked of every seed. */
export interface Scenario {
  readonly name: string;
  readonly topology: Topology;
  readonly play: () => Promise<readonly Violation[]>;
}

const OLD = { kind: "maxAge", maxAgeMs: 100 } as const;

function scenario(name: string, topology: Topology, fixed: Fixed, act: (stage: Stage) => Promise<void>): Scenario {
  const play = async () => {
    const stage = await Stage.open(topology, fixed);
    await act(stage);
    return stage.violations;
  };
  return { name, topology, play };
}

function entryOf(stage: Stage, key: string, text: string, ageMs: number): Entry {
  const version = formatVersion(stage.world.runtime.now() - ageMs, 0, "00000000000000ee");
  return { key, state: "value", value: new TextEncoder().encode(text), version, expires: null, meta: NO_META };
}

export const SCENARIOS: readonly Scenario[] = [
  scenario("a stub whose value is lost", "full", {}, async (stage) => {
    const entry = stubOf(entryOf(stage, "a", "big", 1_000));
    await stage.server("sql").direct.write([{ entry, asOf: stage.world.runtime.now() }]);
    const answer = await stage.get("A", "a");
    if (answer !== undefined) stage.bad("false miss", "sql knows of a version whose value is nowhere: that is no miss");
  }),
  scenario("a copy that no store knows", "full", {}, async (stage) => {
    const asOf = stage.world.runtime.now() - 2_500;
    const entry = entryOf(stage, "a", "ghost", 2_500);
    stage.node("A").disk.copies.set("a", { entry, asOf });
    await stage.get("A", "a");
    await stage.advance(10_000);
    const text = await stage.text("A", "a");
    if (text !== undefined) stage.bad("ghost", `every store denies what A reads: ${text}`);
  }),
  scenario("away for longer than the retention", "full", {}, async (stage) => {
    await stage.setEverywhere("A", "a", "one");
    stage.cut("B");
    await stage.set("B", "a", "two");
    await stage.advance(100);
    await stage.setEverywhere("A", "a", null);
    await stage.advance(RETENTION_MS + 1_000);
    for (const name of ["A", "C"]) stage.forget(name, "a");
    await stage.collect("A");
    stage.join("B");
    await stage.advance(70_000);
    stage.world.noteLetters();
    const { facts, stores } = stage.world;
    if (facts.reported.size === 0) stage.bad("lost", "what B wrote came too late, and nobody is told");
    for (const { name, state } of stores) {
      if (state.copies.has("a")) stage.bad("deleted is back", `${name} has a key again that was deleted for good`);
    }
  }),
  scenario("a deletion that is collected while something older waits", "full", { watch: true }, async (stage) => {
    stage.link("A", "git").down(["write"]);
    await stage.set("A", "a", "one");
    await stage.advance(1_000);
    await stage.setEverywhere("B", "a", null);
    await stage.advance(RETENTION_MS + 1_000);
    await stage.get("A", "a");
    for (const name of ["B", "C"]) stage.forget(name, "a");
    await stage.collect("B");
    stage.link("A", "git").down();
    await stage.advance(1_000);
    await stage.get("A", "a");
  }),
  scenario("a store that lags is collected", "full", {}, async (stage) => {
    await stage.setEverywhere("A", "a", "one");
    for (const name of ["A", "B", "C"]) stage.link(name, "git").down(["write"]);
    await stage.set("A", "a", null);
    await stage.advance(RETENTION_MS + 1_000);
    await stage.collect("B");
    stage.forget("B", "a");
    await stage.get("B", "a");
  }),
  scenario("a condition after an own write", "simple", {}, async (stage) => {
    const node = stage.node("A");
    const { process } = node;
    if (process === undefined) return;
    await stage.set("A", "mix", "own");
    const step = { key: "mix", blind: true, deletes: false, ack: "journal" };
    await stage.done(stage.clients.change(node, process, "A0", step));
  }),
  scenario("a conditional write that lands late", "full", {}, async (stage) => {
    const node = stage.node("A");
    const { process } = node;
    if (process === undefined) return;
    const link = stage.link("A", "sql");
    const step = { key: "counter", blind: true, deletes: false, ack: "journal" };
    await stage.advance(1_000);
    link.hang({ late: true, verbs: ["write"] });
    void stage.clients.change(node, process, "A0", step);
    await stage.advance(40);
    node.crash(false);
    await stage.advance(100);
    const up = node.start();
    await stage.done(up);
    await stage.advance(3_000);
    link.resume();
    await stage.advance(90_000);
    const [sql, git] = [stage.server("sql").versionOf("counter"), stage.server("git").versionOf("counter")];
    if (sql !== git) stage.bad("no agreement", `sql has ${sql} of a register, git ${git}`);
  }),
  scenario("an answer that comes late", "simple", {}, async (stage) => {
    await stage.setEverywhere("B", "a", "one");
    await stage.advance(3_000);
    stage.world.lateMs = 140;
    const reading = stage.reading("A", "a");
    await stage.advance(1);
    stage.world.lateMs = 0;
    await stage.set("B", "a", "two", "git");
    await stage.done(reading);
    await stage.get("A", "a", OLD);
  }),
  scenario("a list without a watch", "full", {}, async (stage) => {
    stage.clients.list(stage.node("A"));
    await stage.advance(1_000);
  }),
  scenario("a flush while writing goes on", "simple", {}, async (stage) => {
    const { process } = stage.node("A");
    stage.link("A", "git").hang({ verbs: ["write"] });
    await stage.set("A", "b", "under way");
    await stage.advance(60);
    await stage.set("A", "a", "first");
    process?.chain.flush().catch(() => undefined);
    await stage.advance(5);
    const last = process?.journal.last ?? 0;
    await stage.set("A", "a", "later");
    const lane = process?.journal.queues.lanes.find(({ name }) => name === "git");
    const isKept = [...(lane?.queue.values() ?? [])].some(({ seq, head }) => head.key === "a" && seq <= last);
    if (!isKept) stage.bad("put off", "what a flush waits for makes way for what came after it, and so on without end");
  }),
  scenario("a clock that goes back", "simple", {}, async (stage) => {
    await stage.set("A", "a", "one");
    await stage.restart("A", -5_000);
    await stage.set("A", "a", "two");
  }),
  scenario("a dead letter after a restart", "simple", {}, async (stage) => {
    await stage.setEverywhere("A", "b", "one");
    await stage.set("A", "b", "two!git");
    await stage.advance(5_000);
    await stage.restart("A");
    await stage.advance(40_000);
    stage.forget("A", "b");
    await stage.get("A", "b");
    await stage.advance(1_000);
  }),
  scenario("expired before it was sent", "simple", {}, async (stage) => {
    await stage.setEverywhere("A", "a", "one");
    stage.cut("A");
    await stage.set("A", "a", "two", "journal", 500);
    await stage.advance(1_000);
    stage.join("A");
    await stage.advance(60_000);
    stage.forget("A", "a");
    await stage.get("A", "a");
  }),
  scenario("a walk that a write overtakes", "simple", { memoryEntries: 1 }, async (stage) => {
    await stage.setEverywhere("B", "a", "one");
    await stage.advance(3_000);
    stage.world.lateMs = 140;
    const reading = stage.reading("A", "a");
    await stage.advance(1);
    stage.world.lateMs = 0;
    await stage.set("A", "a", "two", "git");
    stage.forget("A", "a");
    await stage.done(reading);
    await stage.advance(1);
    await stage.get("A", "a");
  }),
  scenario("an old copy after a restart", "full", {}, async (stage) => {
    await stage.setEverywhere("B", "a", "one");
    const copy = stage.server("git").state.copies.get("a");
    await stage.setEverywhere("A", "a", "two");
    await stage.advance(2_000);
    stage.node("A").crash(false);
    stage.node("A").disk.copies.delete("a");
    stage.world.region.evict("a");
    if (copy !== undefined) {
      await stage.world.region.direct.write([{ entry: copy.entry, asOf: stage.world.runtime.now() }]);
    }
    await stage.done(stage.node("A").start());
    await stage.get("A", "a");
  }),
  scenario("a refusal outlives its record", "full", {}, async (stage) => {
    const { process } = stage.node("A");
    if (process === undefined) return;
    const before = await stage.setEverywhere("A", "counter", "there");
    // One record of the first segment waits for git, so that the intent beside it stays.
    stage.server("git").stuck = (key) => key === "b";
    await stage.set("A", "b", "stuck");
    stage.link("A", "sql").hang({ verbs: ["write"] });
    const step = { key: "counter", blind: true, deletes: false, ack: "journal" };
    void stage.clients.change(stage.node("A"), process, "A0", step);
    for (let i = 0; i < 15; i++) await stage.set("A", `burst${i}`, "x".repeat(200));
    stage.link("A", "sql").resume();
    await stage.advance(2_000);
    for (let i = 0; i < 30; i++) await stage.set("A", `burst${i % 20}`, "x".repeat(200));
    await stage.advance(60_000);
    await stage.set("A", "c", "and so on");
    await stage.advance(60_000);
    await stage.restart("A");
    await stage.advance(5_000);
    for (const { name, state } of stage.world.stores) {
      const version = state.copies.get("counter")?.entry.version;
      if (version !== before) stage.bad("not linearizable", `${name} has ${version}, which was refused`);
    }
  }),
  scenario("a key that is sent ahead", "full", {}, async (stage) => {
    const { process } = stage.node("A");
    if (process === undefined) return;
    const writing = stage.clients.write(stage.node("A"), process, { key: "a", text: "one", ack: "journal" });
    await stage.done(writing);
    // An authority read sends it before its interval has passed.
    await stage.get("A", "a", { kind: "authority", maxAgeMs: 0 });
    await stage.advance(60_000);
    const [sql, git] = [stage.server("sql").versionOf("a"), stage.server("git").versionOf("a")];
    if (sql !== git) stage.bad("no agreement", `sql has ${sql}, git still ${git}`);
  }),
  scenario("more writers than room", "simple", {}, async (stage) => {
    stage.server("git").stuck = () => true;
    for (let i = 0; i < JOURNAL.entriesMax; i++) await stage.set("A", `burst${i}`, "x");
    const late = Array.from({ length: 6 }, (_, i) => stage.set("A", `late${i}`, "x"));
    await stage.advance(20);
    stage.server("git").stuck = (key) => key !== "burst0";
    void stage.done(stage.node("A").process?.chain.flush() ?? Promise.resolve());
    for (let i = 0; i < 10; i++) {
      await stage.advance(20);
      const { entries = 0 } = stage.node("A").process?.journal.status() ?? {};
      if (entries > JOURNAL.entriesMax) stage.bad("out of bounds", `the journal has ${entries} entries`);
    }
    await Promise.all(late);
  }),
];
