import { PLAIN } from "./clients.ts";
import { RETENTION_MS } from "./node.ts";
import type { Node } from "./node.ts";
import type { World } from "./world.ts";

/** How long a process stays down, mostly and sometimes, in milliseconds. */
const DOWN_MS = 1_500;
const DOWN_LONG_MS = 40_000;

/** What goes wrong, by chance, and how it is put right again. */
export class Faults {
  readonly counts = new Map<string, number>();
  private readonly world: World;
  /** Monotonic ms at which nodes that are down, or cut off, come back. */
  private readonly backAt = new Map<Node, number>();
  private readonly joinedAt = new Map<Node, number>();
  private readonly values = { next: 0 };

  constructor(world: World) {
    this.world = world;
    world.onCrash = (node) => this.crashed(node);
  }

  /** One more thing goes wrong. */
  strike(): void {
    const { chance, nodes, links, stores } = this.world;
    const roll = chance.below(100);
    const link = chance.pick(links);
    const node = chance.pick(nodes);
    const is = (what: string) => {
      this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
      this.world.log(`fault: ${what}`);
    };
    if (roll < 10) {
      is(`${link.server} is down for one node`);
      link.down();
    } else if (roll < 20) {
      is(`${link.server} hangs`);
      link.hang({ late: chance.chance(0.6), verbs: ["read", "write", "list", "forget"] });
    } else if (roll < 28) {
      is(`${link.server} loses answers`);
      link.storm({ before: 0.2, after: 0.3, delay: 0.4, midway: 0.1, relist: 0.1 });
    } else if (roll < 34) {
      is("a crash");
      node.crash(chance.chance(0.6));
    } else if (roll < 39) {
      is("a power loss while writing");
      node.files.crashAt(node.files.operations + 1 + chance.below(6));
    } else if (roll < 42) {
      is("a disk error");
      node.files.failAt(node.files.operations + 1 + chance.below(6));
    } else if (roll < 45) {
      is("a node cut off");
      this.cut(node, chance.chance(0.3) ? RETENTION_MS + chance.below(10_000) : chance.below(4_000));
    } else if (roll < 48) {
      is("credentials refused");
      chance.pick(stores).unauthorised = true;
    } else if (roll < 52 && node.remoteChaos !== undefined) {
      is("the node below hangs or is down");
      if (chance.chance(0.5)) node.remoteChaos.down();
      else node.remoteChaos.hang({ late: true, verbs: ["read", "write", "list", "forget"] });
    } else this.mend(link);
  }

  /** Caches forget, people edit, collection goes on, nodes come back. */
  async pass(): Promise<void> {
    const { chance, region, nodes, watch, runtime } = this.world;
    if (chance.chance(0.1)) region.evict(chance.pick(PLAIN));
    if (chance.chance(0.1)) chance.pick(nodes).disk.copies.delete(chance.pick(PLAIN));
    if (watch && chance.chance(0.02)) {
      const text = chance.chance(0.2) ? null : `person${++this.values.next}`;
      await this.world.person("a", text, runtime.now());
    }
    this.comeBack();
    if (chance.chance(0.05)) this.collect(chance.pick(nodes));
  }

  /** Everything is put right. */
  heal(): void {
    const { world } = this;
    world.isHealed = true;
    for (const link of world.links) {
      link.up();
      link.resume();
      link.storm({});
    }
    for (const { remoteChaos } of world.nodes) {
      remoteChaos?.up();
      remoteChaos?.resume();
      remoteChaos?.storm({});
    }
    for (const store of world.stores) {
      store.unauthorised = false;
      store.picky = false;
    }
    for (const node of world.nodes) this.backAt.set(node, 0);
    for (const { files } of world.nodes) files.crashAt(Infinity);
    this.joinedAt.clear();
    this.comeBack();
  }

  /** Starts what is down; for the phases after the chaos. */
  comeBack(): void {
    const { runtime } = this.world;
    for (const [node, atMs] of this.joinedAt) if (atMs <= runtime.monotonic()) this.join(node);
    for (const [node, atMs] of this.backAt) {
      if (atMs > runtime.monotonic() || node.isUp || node.starting !== undefined) continue;
      this.backAt.delete(node);
      this.restart(node);
    }
  }

  private restart(node: Node): void {
    const { facts, log } = this.world;
    node.start().catch((error: unknown) => {
      log(`${node.name} does not start: ${String(error)}`);
      node.starting = undefined;
      // An error of the disk, or a power loss: once more.
      if (String(error).includes("EIO") || String(error).includes("is gone")) this.backAt.set(node, 0);
      else facts.bad("no start", `${node.name}: ${String(error)}`);
    });
  }

  private mend(link: World["links"][number]): void {
    const { chance, stores, nodes } = this.world;
    link.up();
    link.resume();
    link.usual();
    chance.pick(stores).unauthorised = false;
    for (const { remoteChaos } of nodes) {
      remoteChaos?.up();
      remoteChaos?.resume();
    }
  }

  /** A node works on, alone. */
  private cut(node: Node, ms: number): void {
    for (const link of node.plan.links) link.down();
    node.remoteChaos?.down();
    this.joinedAt.set(node, this.world.runtime.monotonic() + ms);
  }

  private join(node: Node): void {
    this.joinedAt.delete(node);
    for (const link of node.plan.links) link.up();
    node.remoteChaos?.up();
  }

  private collect({ name, process }: Node): void {
    const { log } = this.world;
    process?.chain.collect().then(
      ({ removed, kept }) => log(`${name} collected ${removed} and kept ${kept}`),
      (error: unknown) => log(`${name} could not collect: ${String(error)}`),
    );
  }

  private crashed(node: Node): void {
    const { world } = this;
    const { chance, runtime, facts } = world;
    const inMemory = facts.crashed(node.name);
    // Whether what only memory had was written, its journal says.
    for (const { head } of inMemory) facts.lost.add(head.version);
    if (chance.chance(0.1)) node.disk.copies.clear();
    const downMs = world.isHealed ? 0 : chance.chance(0.05) ? DOWN_LONG_MS : 50 + chance.below(DOWN_MS);
    this.backAt.set(node, runtime.monotonic() + downMs);
  }
}
