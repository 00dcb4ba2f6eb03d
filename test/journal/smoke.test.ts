import { expect, it } from "vitest";
import { layer } from "../../src/chain/layer.ts";
import { openJournal } from "../../src/journal/journal.ts";
import type { Files } from "../../src/journal/files.ts";
import { get, textOf, readOne, world } from "../chain/world.ts";

function ram(): Files {
  const all = new Map<string, Uint8Array>();
  let claimed = false;
  const file = (name: string) => ({
    async append(bytes: Uint8Array) {
      const old = all.get(name) ?? new Uint8Array();
      const next = new Uint8Array(old.length + bytes.length);
      next.set(old);
      next.set(bytes, old.length);
      all.set(name, next);
    },
    async sync() {},
    async truncate(n: number) {
      all.set(name, (all.get(name) ?? new Uint8Array()).slice(0, n));
    },
    async close() {},
  });
  return {
    name: "ram",
    async list() {
      return [...all.keys()];
    },
    async size(n) {
      return all.get(n)?.length ?? 0;
    },
    async read(n, from, length) {
      return (all.get(n) ?? new Uint8Array()).slice(from, from + length);
    },
    async create(n) {
      if (all.has(n)) throw new Error("exists " + n);
      all.set(n, new Uint8Array());
      return file(n);
    },
    async open(n) {
      return file(n);
    },
    async rename(a, b) {
      all.set(b, all.get(a) as Uint8Array);
      all.delete(a);
    },
    async remove(n) {
      all.delete(n);
    },
    async syncFolder() {},
    async claim() {
      if (claimed) throw new Error("claimed");
      claimed = true;
      return {
        async release() {
          claimed = false;
        },
      };
    },
  };
}

it("works end to end", async () => {
  const w = await world();
  const files = ram();
  let sql = w.store("sql", { durable: true, shared: true });
  let git = w.store("git", { durable: true, shared: true, conditional: false, stubs: false });
  let journal = await openJournal({ files, runtime: w.runtime });
  const layers = () => [
    layer(w.memory(), { name: "memory" }),
    layer(sql, { name: "sql", role: "store" }),
    layer(git, { name: "git" }),
  ];
  let chain = w.open(layers(), { journal });
  console.log("opened");
  sql.down(["write"]);
  const [r] = await chain.write([w.write(w.value("a", "1"))]);
  console.log("written");
  expect(r?.status).toBe("stored");
  expect(await get(chain, "a")).toBe("1");
  expect(sql.state.copies.size).toBe(0);
  console.log(await readOne(chain, "a"), chain.status().journal);
  console.log("read");
  await w.runtime.advance(1000);
  console.log("advanced");
  expect(chain.status().layers[1]).toMatchObject({ pending: 1 });
  const bad = chain.flush().catch((e: unknown) => String(e));
  await w.runtime.advance(100);
  console.log(await bad);
  const closed = chain.close();
  await w.runtime.advance(11000);
  await closed;
  console.log(w.reports);
  // reopened
  sql = w.store("sql", { durable: true, shared: true }, sql.state);
  git = w.store("git", { durable: true, shared: true, conditional: false, stubs: false }, git.state);
  journal = await openJournal({ files, runtime: w.runtime });
  chain = w.open(layers(), { journal });
  expect(await get(chain, "a")).toBe("1");
  const f = chain.flush();
  await w.runtime.advance(100);
  await f;
  expect(sql.state.copies.size).toBe(1);
  expect(git.state.copies.size).toBe(1);
  console.log(chain.status());
  const v = w.value("n", "1");
  const [c1] = await chain.write([w.write(v, "absent")]);
  expect(c1?.status).toBe("stored");
  const [c2] = await chain.write([w.write(w.value("n", "2"), "absent")]);
  expect(c2?.status).toBe("conflict");
  const [c3] = await chain.write([w.write(w.value("n", "3"), v.version)], { ack: "git" });
  expect(c3?.status).toBe("stored");
  expect(textOf({ entry: git.state.copies.get("n")?.entry })).toBe("3");
  const list = [];
  await chain.write([w.write(w.value("z", "3"))]);
  for await (const i of chain.list({ prefix: "" }, { detail: "values" })) list.push(i.kind === "entry" ? i.key : i);
  expect(list).toEqual(["a", "n", "z"]);
  const cl = chain.close();
  await w.runtime.advance(100);
  await cl;
  expect(sql.state.copies.size).toBe(3);
});
