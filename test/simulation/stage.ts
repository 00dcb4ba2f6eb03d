import type { WriteResult } from "../../src/store.ts";
import type { Version } from "../../src/version.ts";
import { Clients } from "./clients.ts";
import type { ReadKind } from "./clients.ts";
import type { Violation } from "./facts.ts";
import type { Node } from "./node.ts";
import type { Link, Server } from "./server.ts";
import { outcomeWithin } from "./patience.ts";
import { World } from "./world.ts";
import type { Fixed, Topology } from "./world.ts";

/** Long enough for every layer to have what was written. */
const FLUSHED_MS = 5_000;
const CACHED: ReadKind = { kind: "cached", maxAgeMs: 0 };

/** The same world as that of the seeds, without chance: for one thing after the other. */
export class Stage {
  readonly world: World;
  readonly clients: Clients;

  private constructor(topology: Topology, fixed: Fixed) {
    this.world = new World(1, topology, undefined, { isExact: true, watch: false, ...fixed });
    this.world.isHealed = true;
    this.clients = new Clients(this.world);
  }

  static async open(topology: Topology, fixed: Fixed = {}): Promise<Stage> {
    const stage = new Stage(topology, fixed);
    await stage.world.preload();
    await stage.world.open();
    return stage;
  }

  get violations(): readonly Violation[] {
    return this.world.facts.violations;
  }

  bad(kind: string, what: string): void {
    this.world.facts.bad(kind, what);
  }

  node(name: string): Node {
    return found(this.world.nodes.find((node) => node.name === name));
  }

  server(name: string): Server {
    const { stores, region } = this.world;
    return found([...stores, region].find((server) => server.name === name));
  }

  link(node: string, server: string): Link {
    return found(this.node(node).plan.links.find((link) => link.server === server));
  }

  links(node: string): readonly Link[] {
    return this.node(node).plan.links;
  }

  advance(ms: number): Promise<void> {
    return this.world.runtime.advance(ms);
  }

  /** Lets time pass until the work is done, for at most so long. @returns undefined when it is not done by then. */
  async done<T>(work: Promise<T>, ms = FLUSHED_MS): Promise<T | undefined> {
    const outcome = await outcomeWithin(this.world.runtime, work, ms, 5);
    return outcome.kind === "done" ? outcome.value : undefined;
  }

  set(
    name: string,
    key: string,
    text: string | null,
    ack = "journal",
    expiresInMs?: number,
  ): Promise<WriteResult | undefined> {
    const node = this.node(name);
    const expires = expiresInMs === undefined ? null : this.world.runtime.now() + expiresInMs;
    return this.done(this.clients.write(node, found(node.process), { key, text, expires, ack }));
  }

  /** A write that every layer has afterwards. */
  async setEverywhere(name: string, key: string, text: string | null): Promise<Version> {
    await this.set(name, key, text);
    await this.done(found(this.node(name).process).chain.flush());
    return this.server("git").versionOf(key);
  }

  /** Reads as a program does; what it is told is checked. */
  reading(name: string, key: string, kind: ReadKind = CACHED): ReturnType<Clients["read"]> {
    const node = this.node(name);
    return this.clients.read(node, found(node.process), key, kind);
  }

  get(name: string, key: string, kind: ReadKind = CACHED): ReturnType<Clients["read"]> {
    return this.done(this.reading(name, key, kind));
  }

  /** The text that a node reads; undefined when it is told that there is none, or nothing. */
  async text(name: string, key: string, kind: ReadKind = CACHED): Promise<string | undefined> {
    const value = (await this.get(name, key, kind))?.entry?.value;
    return value === null || value === undefined ? undefined : new TextDecoder().decode(value);
  }

  /** The caches of a node forget a key. */
  forget(name: string, key: string): void {
    const process = found(this.node(name).process);
    this.node(name).disk.copies.delete(key);
    this.world.region.evict(key);
    const [memory] = process.chain.layers;
    for (let i = 0; i < 3; i++) {
      const version = process.chain.look(key)?.entry.version;
      if (version === undefined) break;
      void memory?.store.forget([{ key, version, reason: "ghost" }]);
    }
  }

  async collect(name: string): Promise<void> {
    await this.done(found(this.node(name).process).chain.collect());
  }

  cut(name: string): void {
    for (const link of this.links(name)) link.down();
  }

  join(name: string): void {
    for (const link of this.links(name)) link.up();
  }

  async restart(name: string, skewMs?: number): Promise<void> {
    const node = this.node(name);
    node.crash(false);
    node.nextSkewMs = skewMs;
    await this.done(node.start());
  }
}

function found<T>(thing: T | undefined): T {
  if (thing === undefined) throw new Error("the scenario names something that is not there");
  return thing;
}
