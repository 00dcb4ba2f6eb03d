import { afterEach, expect, test } from "vitest";
import { chain } from "../../src/chain/chain.ts";
import type { Chain } from "../../src/chain/chain.ts";
import { layer } from "../../src/chain/layer.ts";
import { lmdb } from "../../src/stores/lmdb.ts";
import { memory } from "../../src/stores/memory.ts";
import { syncOver } from "../../src/sync.ts";
import { systemRuntime as runtime } from "../../src/system.ts";
import { versionClock } from "../../src/version.ts";
import { scratch } from "../stores/git/place.ts";
import type { Scratch } from "../stores/git/place.ts";

let place: Scratch | undefined;
let layers: Chain | undefined;

afterEach(async () => {
  await layers?.close();
  await place?.remove();
});

// Real parts: a person's commit in git reaches memory and the store between, which decides conditional writes (rule 8).
// Mutation: leaving the feed out of carry.ts keeps the store between at what it had.
test("a person's commit reaches memory and the database above git, deletions and reverts too", async () => {
  place = scratch();
  place.run("", ["init", "--quiet", "--bare", "--initial-branch=main", "truth.git"]);
  const clock = await versionClock({ runtime });
  const truth = await place.open("git:./truth.git#main", { clock });
  const database = await lmdb(place.path("database"), { runtime });
  const specs = [layer(memory({ runtime })), layer(database, { role: "store" }), layer(truth, { watchIntervalMs: 20 })];
  layers = chain(specs, { runtime, clock });
  const db = syncOver(layers);
  await layers.ready();
  await db.set("motto.txt", "as it was");
  await db.set("other", "stays");
  const told = db.watch({ intervalMs: 20 })[Symbol.asyncIterator]();

  place.run("", ["clone", "--quiet", "truth.git", "desk"]);
  const push = (...steps: (readonly string[])[]) => {
    for (const step of [...steps, ["push", "--quiet"]]) place?.run("desk", step);
  };
  const hear = async (type: "set" | "delete") => {
    for (;;) {
      const { value: event, done } = await told.next();
      if (done === true) throw new Error("the watch ended");
      if (event.key === "motto.txt" && event.type === type) return;
    }
  };
  /** What the store between holds, once the change has been carried to it. */
  const inDatabase = async (state: "value" | "deleted", text?: string, key = "motto.txt") => {
    const changes = database.watch({ prefix: key }, { intervalMs: 20 });
    for await (const change of changes) {
      if (change.kind !== "change" || change.head?.state !== state) continue;
      const [answer] = await database.read([key]);
      const value = answer?.entry?.value;
      if (text === undefined || (value instanceof Uint8Array && new TextDecoder().decode(value) === text)) return;
    }
  };
  const pull = () => place?.run("desk", ["pull", "--quiet", "--rebase"]);

  const write = (key: string, text: string) => ["-c", `alias.put=!printf '%s' '${text}' > ${key}`, "put"];
  push(
    write("motto.txt", "as a person wants it"),
    write("unread.txt", "that nobody reads"),
    ["add", "."],
    ["commit", "--quiet", "-m", "better"],
  );
  await hear("set");
  expect(await db.get("motto.txt")).toBe("as a person wants it");
  await inDatabase("value", "as a person wants it");
  await inDatabase("value", "that nobody reads", "unread.txt");

  // Decided on what the person wrote, not on what the database had before.
  pull();
  await db.update("motto.txt", (motto = "") => `${motto}!`);
  await hear("set");
  expect(await db.get("motto.txt")).toBe("as a person wants it!");

  pull();
  push(["rm", "--quiet", "motto.txt"], ["commit", "--quiet", "-m", "away"]);
  const away = place.run("desk", ["rev-parse", "HEAD"]);
  await hear("delete");
  expect(await db.get("motto.txt")).toBeUndefined();
  await inDatabase("deleted");

  pull();
  push(["revert", "--no-edit", away]);
  await hear("set");
  expect(await db.get("motto.txt")).toBe("as a person wants it!");
  await inDatabase("value", "as a person wants it!");
  expect(await db.get("other")).toBe("stays");
  await told.return?.();
});
