/**
 * Every rule that is built, taken out one at a time. No switch for it stands in the sources: the test build replaces
 * texts of them, each of which is there exactly once. Rows are those of the findings that the rules came from.
 */
export interface Rule {
  readonly name: string;
  /** What it says. */
  readonly says: string;
  readonly edits: readonly Edit[];
  /** Any of these violations shows that it is missing. */
  readonly finds: readonly string[];
  /** Found within so many seeds of the simulation; 0: chance finds it too rarely. */
  readonly seeds: number;
  /** The directed scenario that finds it. */
  readonly scenario?: string;
  /** Only what is found there counts, as what is not found needs no seeds of other kinds. */
  readonly topology?: "full" | "simple" | "fed";
  /** Why the simulation does not find it. */
  readonly notFound?: string;
}

export interface Edit {
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

const BACK = ["went back", "own write not read"];
const WRONG = ["old as fresh", "deleted is back", "false miss"];
const ENDS = ["lost", "no agreement", "no answer", "does not settle", "untrue flush"];
const ANY = [...BACK, ...WRONG, ...ENDS];

function one(file: string, from: string, to: string): readonly Edit[] {
  return [{ file: `src/${file}`, from, to }];
}

export const RULES: readonly Rule[] = [
  {
    name: "floor",
    says: "nothing below the highest version met stops a walk",
    edits: one("chain/walk.ts", "if (entry.version < top || !reliable) return went;", "if (!reliable) return went;"),
    finds: [...BACK, ...WRONG],
    seeds: 100,
  },
  {
    name: "fresh tombstones only",
    says: "a tombstone or expired entry stops a walk only while it is fresh",
    edits: one(
      "chain/walk.ts",
      "if (isFresh(went, copy)) return { ...went, stopped: { layer: index, refresh: false } };",
      "if (isFresh(went, copy) || isDead(entry, now)) return { ...went, stopped: { layer: index, refresh: false } };",
    ),
    finds: [...BACK, ...WRONG],
    seeds: 100,
  },
  {
    name: "live stub",
    says: "a live stub never ends in a miss",
    edits: one(
      "chain/walk.ts",
      "isLiveStub(seen, now) && !isGhost(seen))) {",
      "isLiveStub(seen, now) && !isGhost(seen) && now < 0)) {",
    ),
    finds: ["false miss", ...BACK],
    seeds: 200,
    scenario: "a stub whose value is lost",
  },
  {
    name: "silent store",
    says: "an answer from below a store that did not answer is stale, and no miss",
    edits: one("chain/walk.ts", 'silent: walk.silent || layer.role === "store" }', "silent: walk.silent }"),
    finds: [...BACK, ...WRONG],
    seeds: 100,
  },
  {
    name: "authority first",
    says: "no other shared layer gets a version before the layer that decides",
    edits: one(
      "journal/queues.ts",
      "return !lane.shared || lane.bit === item.first || (item.waits & item.first) === 0;",
      "return true;",
    ),
    finds: ["ahead of the authority"],
    seeds: 30,
  },
  {
    name: "journal first",
    says: "no layer that outlives the process gets a version before it is on disk here",
    edits: [
      ...one(
        "chain/behind.ts",
        "const slots = [...state.layers.keys()].filter((index) => isMemory(state, index));",
        'const slots = [...state.layers.keys()].filter((index) => state.layers[index]?.role === "cache");',
      ),
      ...one(
        "chain/behind.ts",
        "    state.slots[index]?.writeNow(writes);",
        "    void layer.store.write(writes).catch(() => undefined);",
      ),
    ],
    finds: ["ahead of the journal", "ahead of the authority"],
    seeds: 100,
  },
  {
    name: "ghosts",
    says: "what every store denies is dropped from caches, not answered",
    edits: one(
      "chain/walk.ts",
      "const truth = complete ? withoutGhosts(walk, now) : undefined;",
      "const truth = complete && now < 0 ? withoutGhosts(walk, now) : undefined;",
    ),
    finds: [...ANY, "ghost"],
    seeds: 300,
    scenario: "a copy that no store knows",
  },
  {
    name: "own floors",
    says: "what this process wrote or answered is a floor for longer than any older copy is fresh",
    edits: one(
      "chain/floors.ts",
      "if (!this.isLive(key, found, now)) return undefined;",
      "if (found === undefined || now > 0) return undefined;",
    ),
    finds: BACK,
    seeds: 100,
    scenario: "an old copy after a restart",
  },
  {
    name: "overtaken writes",
    says: "what is known to be newer is a floor until everything older has been sent, though it is gone for good",
    edits: one("chain/carry.ts", "state.floors.end(key, floor.version, now)", "state.floors.drop(key, floor.version)"),
    finds: BACK,
    seeds: 100,
    scenario: "a deletion that is collected while something older waits",
  },
  {
    name: "overtaken walks",
    says: "a walk overtaken by a write fills nothing older and is joined by nobody",
    edits: one("chain/flight.ts", "overtakeFrom(underWay.get(key), by);", "underWay.get(key);"),
    finds: [...BACK, ...WRONG],
    seeds: 200,
    scenario: "a walk that a write overtakes",
  },
  {
    name: "own walks",
    says: "authority and maxAge reads join no walk that began before them",
    edits: one("chain/read.ts", 'const canShare = freshness.kind === "cached" && ', "const canShare = "),
    finds: [...BACK, ...WRONG, "not linearizable"],
    seeds: 200,
  },
  {
    name: "collection watermark",
    says: "at or below its watermark a store refuses a write to an absent key",
    edits: one(
      "testing/reference.ts",
      "if (held === undefined && entry.version <= this.state.watermark) return TOO_OLD;",
      "",
    ),
    finds: [...WRONG, ...ENDS],
    seeds: 300,
    scenario: "away for longer than the retention",
  },
  {
    name: "conflict list",
    says: "what is too old is kept with its body and reported, never dropped",
    edits: one(
      "chain/lane.ts",
      "return refuse(item, tooOld(item.head));",
      'settle(item, { status: "stored" });\n        return undefined;',
    ),
    finds: ["lost", "untrue flush", ...BACK],
    seeds: 300,
    scenario: "away for longer than the retention",
  },
  {
    name: "collection order",
    says: "collection begins with the deepest store",
    edits: one("chain/forget.ts", "state.calls.toReversed()", "state.calls"),
    finds: ["collected from above"],
    seeds: 200,
    scenario: "away for longer than the retention",
  },
  {
    name: "collection proof",
    says: "nothing is collected of which a store has an older state",
    edits: one(
      "chain/collect.ts",
      "const isOlder = versions.some((version) => version !== undefined && version !== head.version);",
      "const isOlder = versions.some((version) => version !== undefined && version > head.version);",
    ),
    finds: [...ANY, "collected from above"],
    seeds: 300,
    scenario: "a store that lags is collected",
  },
  {
    name: "own pending first",
    says: "before a conditional write this node's own pending entry goes to the layer that decides",
    edits: [
      ...one("chain/conditional.ts", "await deciding.sendKey(key);\n      await fillFromBelow", "await fillFromBelow"),
      ...one("chain/conditional.ts", "await deciding.sendKey(key);\n      sent = await", "sent = await"),
    ],
    finds: ["own write overlooked", "not linearizable", ...BACK],
    seeds: 200,
    scenario: "a condition after an own write",
  },
  {
    name: "filled from below",
    says: "a key that the layer that decides lacks is brought up before a condition is judged",
    edits: one("chain/conditional.ts", "await fillFromBelow(state, deciding.index, calls, [write], writeAnew);", ""),
    finds: ["not linearizable"],
    seeds: 100,
  },
  {
    name: "intent first",
    says: "a conditional write is in the journal before it is sent",
    edits: one(
      "chain/conditional.ts",
      "item = await journal.intend(write);",
      'await calls.call("write", (call) => layer.store.write([write], call)).catch(() => undefined);\n      item = await journal.intend(write);',
    ),
    finds: ["ahead of the journal", "no agreement"],
    seeds: 300,
    scenario: "a conditional write that lands late",
  },
  {
    name: "indeterminate",
    says: "what may have happened is never reported as not happened, so that nobody runs it again",
    edits: one(
      "chain/conditional.ts",
      'return { kind: "open", error: error.code === "INDETERMINATE" ? error : indeterminate(error, key, layer) };',
      'return { kind: "unsent", error: unsentError(error, key) };',
    ),
    finds: ["not linearizable", ...ANY],
    seeds: 100,
  },
  {
    name: "same version on retry",
    says: "a conditional write that is sent again and already there counts as done",
    edits: one(
      "testing/reference.ts",
      "if (condition === undefined || held?.entry.version === entry.version) return true;",
      "if (condition === undefined) return true;",
    ),
    finds: ["not linearizable", ...ANY],
    seeds: 100,
  },
  {
    name: "undecided is sent again",
    says: "an open conditional write is sent again until it is decided; a read cannot decide it",
    edits: one(
      "chain/conditional.ts",
      "const sent = await send(item, true);",
      `const [there] = await calls.call("read", (call) => layer.store.read([item.head.key], call));
    const isThere = there?.entry?.version === item.head.version;
    const sent: Sent = isThere ? { kind: "decided", result: { status: "stored" } } : { kind: "decided", result: { status: "conflict", current: there?.entry } };`,
    ),
    finds: ["no agreement", "lost", "not linearizable"],
    seeds: 300,
    scenario: "a conditional write that lands late",
  },
  {
    name: "pending has an age",
    says: "a pending entry answers for as long as a copy of its age would",
    edits: one(
      "chain/walk.ts",
      "copy.entry.version === top && isFresh(went, copy);",
      'copy.entry.version === top && start.freshness.kind !== "authority";',
    ),
    finds: WRONG,
    seeds: 200,
  },
  {
    name: "list of all stores",
    says: "a list merges every store, unless one is known to be complete",
    edits: one("chain/list.ts", "if (state.bootstraps.isComplete(index)) break;", "break;"),
    finds: ["list lacks"],
    seeds: 0,
    scenario: "a list without a watch",
  },
  {
    name: "list of what is pending",
    says: "a list has what this node wrote and the stores lack",
    edits: one(
      "chain/list.ts",
      "if (state.behind !== undefined) {",
      "if (state.behind !== undefined && state.first === -2) {",
    ),
    finds: ["list lacks"],
    seeds: 60,
  },
  {
    name: "flush through nodes",
    says: "a flush goes on through the nodes below",
    edits: one("chain/behind.ts", "await flushBelow(state, call);", ""),
    finds: ["untrue flush"],
    seeds: 100,
    topology: "fed",
  },
  {
    name: "dated by the asking",
    says: "an answer is dated by the beginning of the asking",
    edits: [
      ...one(
        "chain/walk.ts",
        "const asOf = isTruth ? walk.course.startedAt : knownAsOf(walk, reply.asOf, now);",
        "const asOf = isTruth ? now : reply.asOf;",
      ),
      ...one(
        "chain/walk.ts",
        "Math.max(best.asOf, Math.min(walk.lastAsOf ?? 0, walk.course.startedAt)) : best.asOf;",
        "Math.max(best.asOf, now) : best.asOf;",
      ),
    ],
    finds: WRONG,
    seeds: 300,
    scenario: "an answer that comes late",
  },
  {
    name: "durable clock",
    says: "versions go on above every one that was issued before a crash",
    edits: one("version.ts", "let ms = (await bound?.load()) ?? 0;", "let ms = 0;"),
    finds: ["version went back", ...BACK],
    seeds: 100,
    scenario: "a clock that goes back",
  },
  {
    name: "newer writes wait for a decision",
    says: "no newer write of a key goes to the layer that decides before an open conditional write of it",
    edits: one("journal/queues.ts", "return wall === undefined || item.seq < wall;", "return true;"),
    finds: ["not linearizable", "own write overlooked", ...ANY],
    seeds: 0,
    notFound:
      "covered by the merge rule and by INDETERMINATE: without it more conditional writes stay unknown, none is wrong",
  },
  {
    name: "no coalescing over a condition",
    says: "a write before an open conditional write of its key is not replaced by one after it",
    edits: one(
      "journal/queues.ts",
      "if (other.sealed || other.seq <= this.sealedTo) continue;",
      "if (other.seq <= this.sealedTo) continue;",
    ),
    finds: ["own write overlooked", ...ANY],
    seeds: 0,
    notFound:
      "covered by own pending first: what came before the condition has been sent, or is on its way, when something could replace it",
  },
  {
    name: "no coalescing over a flush",
    says: "what a flush waits for is not replaced by what comes after it",
    edits: one("journal/queues.ts", "this.sealedTo = Math.max(this.sealedTo, last);", ""),
    finds: ["put off"],
    seeds: 0,
    scenario: "a flush while writing goes on",
  },
  {
    name: "fsync",
    says: "a write is synced before it is acknowledged",
    edits: one("journal/segments.ts", "await file.appendSynced(group.seal(", "await file.append(group.seal("),
    finds: ["lost", "ahead of the journal", "no start", ...ANY],
    seeds: 60,
  },
  {
    name: "cursors",
    says: "a cursor lies before everything that its layer lacks",
    edits: one(
      "journal/journal.ts",
      "const seq = Math.min(durable, (queues.firstOf(lane) ?? Infinity) - 1);",
      "const seq = queues.lanes.includes(lane) ? durable : 0;",
    ),
    finds: ["lost", "untrue flush", "no agreement", ...BACK],
    seeds: 60,
  },
  {
    name: "expired entries are flushed",
    says: "an expired entry still goes to layers that lack it",
    edits: one(
      "chain/lane.ts",
      'if (layer.role === "store") return items;',
      'if (layer.role === "store") {\n      for (const item of items) if ((item.head.expires ?? Infinity) <= runtime.now()) journal.settle(lane, item, { status: "stored" });\n      return items.filter((item) => (item.head.expires ?? Infinity) > runtime.now());\n    }',
    ),
    finds: [...ANY],
    seeds: 200,
    scenario: "expired before it was sent",
  },
  {
    name: "tombstones are flushed",
    says: "a delete travels like a write",
    edits: one(
      "chain/lane.ts",
      'if (layer.role === "store") return items;',
      'if (layer.role === "store") {\n      for (const item of items) if (item.head.state === "deleted") journal.settle(lane, item, { status: "stored" });\n      return items.filter((item) => item.head.state !== "deleted");\n    }',
    ),
    finds: [...ANY],
    seeds: 60,
  },
  {
    name: "own pending is read",
    says: "reads consult what this node wrote and some layer lacks",
    edits: one(
      "chain/behind.ts",
      "if (found.length === 0) return undefined;",
      "if (found.length === 0 || !authority) return undefined;",
    ),
    finds: [...BACK, ...WRONG],
    seeds: 200,
    scenario: "a dead letter after a restart",
  },
  {
    name: "dead letters are read",
    says: "what a layer refused for good stays readable on its node",
    edits: one(
      "journal/letterbox.ts",
      "return this.dead.get(key);",
      'return key === "" ? this.dead.get(key) : undefined;',
    ),
    finds: BACK,
    seeds: 300,
    scenario: "a dead letter after a restart",
  },
  {
    name: "people's changes go up",
    says: "what others change in a store is written to the stores above it",
    edits: one(
      "chain/carry.ts",
      "for (const above of storesAbove(state, index)) await feed(state, calls, above, heads);",
      "",
    ),
    finds: ENDS,
    seeds: 100,
  },
  {
    name: "newest wins",
    says: "a store keeps the newest version of a key",
    edits: one(
      "testing/reference.ts",
      "return merge(held, copy);",
      "return held.entry.version === copy.entry.version ? merge(held, copy) : copy;",
    ),
    finds: ["version went back"],
    seeds: 30,
  },
  {
    name: "room",
    says: "writers wait, then are refused, when a journal is full",
    edits: one(
      "journal/room.ts",
      "if (waiting.length === 0 && fits(entries, bytes)) return undefined;",
      "if (waiting.length === 0) return undefined;",
    ),
    finds: ["out of bounds"],
    seeds: 120,
  },
  {
    name: "room is kept",
    says: "room that was given is kept until it is used",
    edits: one("journal/room.ts", "promisedEntries += first.entries;", ""),
    finds: ["out of bounds"],
    seeds: 0,
    scenario: "more writers than room",
  },
  {
    name: "budget",
    says: "every batch of a layer is paid from its budget",
    edits: one("chain/lane.ts", "await layer.budget?.take({ push: 1, write: 1 });", ""),
    finds: ["over budget"],
    seeds: 100,
  },
  {
    name: "floors of the last process",
    says: "what is still in the journal is a floor after a restart",
    edits: one("journal/replay.ts", "if (waits === 0) return {", "if (waits === 0) return NOTHING ?? {"),
    finds: BACK,
    seeds: 300,
    scenario: "an old copy after a restart",
  },
  {
    name: "refusals outlive their records",
    says: "the decision that a write did not happen stays in the journal as long as the write does",
    edits: one("journal/journal.ts", "if (!happened) this.refusals.add(first, seq);", ""),
    finds: ["not linearizable"],
    seeds: 0,
    scenario: "a refusal outlives its record",
  },
  {
    name: "those that wait are woken",
    says: "layers that wait for the first one are sent what it got ahead of its batch",
    edits: one(
      "chain/lane.ts",
      "keySends.delete(ended);\n          // Other layers waited for this one to have it.\n          onAttempt();",
      "keySends.delete(ended);",
    ),
    finds: ["never ended", "no agreement", "does not settle"],
    seeds: 0,
    scenario: "a key that is sent ahead",
  },
];
