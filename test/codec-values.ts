/**
 * The two lists of docs/values.md as data: what goes round exactly, and what is refused where. The tests run them, and
 * a test sees to it that the page has each row.
 */
export interface ExactRow {
  readonly name: string;
  readonly stored: "json" | "messagepack" | "text" | "bytes";
  readonly values: readonly unknown[];
}

export interface RefusedRow {
  readonly name: string;
  /** Makes the values anew, since some of them are spoilt by use. */
  readonly make: () => readonly (readonly [value: unknown, path: string])[];
}

class Point {
  readonly x = 1;
}

const nullPrototype = (entries: object): object => Object.assign(Object.create(null) as object, entries);

export const EXACT: readonly ExactRow[] = [
  {
    name: "text",
    stored: "text",
    values: ["", "x", "größe", "日本", "😀", "\u0000", "\ufeffafter a mark", "a".repeat(100_000)],
  },
  { name: "bytes", stored: "bytes", values: [new Uint8Array(0), Uint8Array.of(0, 255, 128)] },
  { name: "`null`", stored: "json", values: [null, [null], { a: null }] },
  { name: "`true`, `false`", stored: "json", values: [true, false, [false]] },
  {
    name: "numbers JSON can write",
    stored: "json",
    values: [
      0,
      1,
      -1,
      0.1,
      1e21,
      5e-324,
      Number.MAX_VALUE,
      2 ** 53,
      -(2 ** 53),
      2 ** 63,
      1 / 3,
      [4294967296, -2147483649],
    ],
  },
  { name: "`-0`", stored: "messagepack", values: [-0, [-0], { a: -0 }] },
  {
    name: "`NaN`, `Infinity`, `-Infinity`",
    stored: "messagepack",
    values: [NaN, Infinity, -Infinity, [NaN], { a: -Infinity }],
  },
  {
    name: "`undefined` inside",
    stored: "messagepack",
    values: [[undefined], { a: undefined }, { a: [undefined, { b: undefined }] }],
  },
  {
    name: "BigInt of any size",
    stored: "messagepack",
    values: [0n, 1n, -1n, 255n, 256n, -256n, 2n ** 53n, 2n ** 64n, -(2n ** 64n), 2n ** 4096n + 7n, [1n], { a: -5n }],
  },
  {
    name: "arrays without holes",
    stored: "json",
    values: [
      [],
      [[]],
      [1, "a", null, [true]],
      Array.from({ length: 70_000 }, (_, i) => i),
      Array.from({ length: 20 }, () => []),
    ],
  },
  {
    name: "plain objects, their keys in order",
    stored: "json",
    values: [
      // What JSON writes for half of a surrogate pair, as a text.
      { "\\ud83d": ["C:\\udata", "\\ud83d", "😀"] },
      {},
      { b: 1, a: 2 },
      { 2: "b", 1: "a", x: 0 },
      { "": 1, "a b": 2, größe: 3, "\u0000": 4 },
      { constructor: 1, toString: 2, hasOwnProperty: 3 },
      { toJSON: 1 },
      Object.fromEntries(Array.from({ length: 70_000 }, (_, i) => [`key ${i}`, i])),
      Object.freeze({ a: Object.freeze([1]) }),
    ],
  },
  {
    name: "objects without a prototype",
    stored: "messagepack",
    values: [nullPrototype({}), nullPrototype({ b: 1, a: [nullPrototype({ toString: 1 })] })],
  },
  {
    name: "`Date`",
    stored: "messagepack",
    values: [new Date(0), new Date(-1), new Date(8.64e15), new Date(NaN), [new Date(1.7e12)], { at: new Date(1) }],
  },
  {
    name: "`Map`",
    stored: "messagepack",
    values: [
      new Map(),
      new Map<unknown, unknown>([
        ["b", 1],
        [1, "one"],
        [NaN, -0],
        [{ a: 1 }, new Map([[null, undefined]])],
        [undefined, [1n]],
        ["__proto__", 1],
      ]),
      { m: new Map(Array.from({ length: 70_000 }, (_, i) => [i, i])) },
    ],
  },
  {
    name: "`Set`",
    stored: "messagepack",
    values: [
      new Set(),
      new Set<unknown>([3, "3", 3n, NaN, undefined, [1], [1], new Set([1])]),
      [new Set(Array.from({ length: 20 }, (_, i) => i))],
    ],
  },
  {
    name: "`ArrayBuffer`",
    stored: "messagepack",
    values: [new ArrayBuffer(0), Uint8Array.of(1, 2, 3).buffer, [new ArrayBuffer(300)]],
  },
  {
    name: "`DataView`",
    stored: "messagepack",
    values: [new DataView(new ArrayBuffer(3)), [new DataView(new ArrayBuffer(0))]],
  },
  {
    name: "`Uint8Array` inside",
    stored: "messagepack",
    values: [[Uint8Array.of(1, 2)], { a: new Uint8Array(0), b: new Uint8Array(70_000) }],
  },
  {
    name: "every other typed array",
    stored: "messagepack",
    values: [
      Int8Array.of(-128, 127),
      Uint8ClampedArray.of(0, 255),
      Int16Array.of(-32768, 32767),
      Uint16Array.of(0, 65535),
      Int32Array.of(-(2 ** 31), 2 ** 31 - 1),
      Uint32Array.of(0, 2 ** 32 - 1),
      Float32Array.of(0.5, -0, NaN, Infinity),
      Float64Array.of(0.1, -0, NaN, 5e-324),
      BigInt64Array.of(-(2n ** 63n), 2n ** 63n - 1n),
      BigUint64Array.of(0n, 2n ** 64n - 1n),
      [new Float64Array(0), new Int16Array(1000), new Float64Array(new ArrayBuffer(32), 8, 2)],
      ...float16(),
    ],
  },
  { name: "a part that stands in several places", stored: "json", values: [shared()] },
];

function shared(): unknown {
  const part = { a: [1] };
  return { x: part, y: [part, part] };
}

/** Where the platform has it. */
function float16(): unknown[] {
  const Float16: unknown = Reflect.get(globalThis, "Float16Array");
  return typeof Float16 === "function" ? [Reflect.construct(Float16, [[0.5, -0, NaN]])] : [];
}

export const REFUSED: readonly RefusedRow[] = [
  { name: "`undefined` as the value itself", make: () => [[undefined, "$"]] },
  {
    name: "functions",
    make: () => [
      [() => 1, "$"],
      [{ a: [1, Math.max] }, "$.a[1]"],
      [Point, "$"],
    ],
  },
  {
    name: "symbols",
    make: () => [
      [Symbol("x"), "$"],
      [[Symbol.iterator], "$[0]"],
    ],
  },
  { name: "symbols as keys", make: () => [[{ a: { [Symbol("x")]: 1 } }, "$.a"]] },
  {
    name: "instances of classes",
    make: () => [
      [new Point(), "$"],
      [{ users: [0, 1, 2, { name: new Point() }] }, "$.users[3].name"],
      [Object.create({}), "$"],
      [new (class Sub extends Array {})(), "$"],
      [new (class Sub extends Map {})(), "$"],
      [new (class Sub extends Date {})(), "$"],
      [new (class Sub extends Uint8Array {})(2), "$"],
    ],
  },
  {
    name: "borrowed prototypes",
    make: () => [
      [Object.create(Map.prototype), "$"],
      [Object.create(Set.prototype), "$"],
      [[Object.create(Date.prototype)], "$[0]"],
      [Object.create(ArrayBuffer.prototype), "$"],
      [Object.create(DataView.prototype), "$"],
      [Object.create(Uint8Array.prototype), "$"],
      [Object.setPrototypeOf(new Float64Array(1), Int8Array.prototype), "$"],
      [Object.setPrototypeOf([], null), "$"],
    ],
  },
  // oxlint-disable-next-line no-new-wrappers, unicorn/new-for-builtins -- what is refused
  {
    name: "boxed primitives",
    make: () => [
      [new Number(1), "$"],
      [[new String("a")], "$[0]"],
      [new Boolean(false), "$"],
      [Object(1n), "$"],
    ],
  },
  {
    name: "`RegExp`, `Error`, `Promise`, `WeakMap`, `URL` and every other object of the platform",
    make: () => [
      [/x/, "$"],
      [{ e: new Error("x") }, "$.e"],
      [Promise.resolve(1), "$"],
      [new WeakMap(), "$"],
      [new WeakSet(), "$"],
      [new URL("http://x"), "$"],
      [new SharedArrayBuffer(1), "$"],
      [globalThis, "$"],
    ],
  },
  {
    name: "getters and setters",
    make: () => [
      [
        {
          a: {
            get b() {
              throw new Error("a getter ran");
            },
          },
        },
        "$.a.b",
      ],
      [{ set b(_: number) {} }, "$.b"],
      [
        Object.defineProperty([1], 0, {
          get: () => {
            throw new Error("a getter ran");
          },
          enumerable: true,
        }),
        "$[0]",
      ],
      [Object.defineProperty([1], 0, { set: () => {}, enumerable: true }), "$[0]"],
    ],
  },
  {
    name: "properties that are not enumerable",
    make: () => [
      [Object.defineProperty({ a: 1 }, "b", { value: 1, enumerable: false }), "$.b"],
      [
        (function args() {
          return arguments;
        })(),
        "$",
      ],
    ],
  },
  {
    name: "a method `toJSON`",
    make: () => [
      [{ toJSON: () => 1 }, "$.toJSON"],
      [
        [
          {
            toJSON() {
              throw new Error("toJSON ran");
            },
          },
        ],
        "$[0].toJSON",
      ],
    ],
  },
  { name: "cycles", make: cycles },
  {
    name: "halves of surrogate pairs, in texts and keys",
    make: () => [
      ["\ud800", "$"],
      [{ a: ["x\udc00"] }, "$.a[0]"],
      [{ a: { "\ud83d": 1 } }, "$.a"],
      [new Map([["\ud83d", 1]]), "$.keys()[0]"],
      [{ "\\ud83d": { at: new Date(0), text: ["é\ud83d", "\ud83dé"] } }, '$["\\\\ud83d"].text[0]'],
      [["\\ud83d", "😀", "é\ude00"], "$[2]"],
    ],
  },
  {
    name: "the key `__proto__`",
    make: () => [
      [JSON.parse('{"a":{"__proto__":{"admin":true}}}'), "$.a"],
      [Object.defineProperty({}, "__proto__", { value: 1, enumerable: true }), "$"],
    ],
  },
  {
    name: "arrays with holes",
    make: () => [
      [Object.assign([], { length: 3 }), "$"],
      [{ a: Object.assign([1, 2], { length: 5 }) }, "$.a"],
      [Object.assign([], { 4_294_967_294: 1 }), "$"],
    ],
  },
  {
    name: "arrays with properties of their own",
    make: () => [
      [Object.assign([1], { name: "x" }), "$"],
      [{ m: "ab".match(/b/) }, "$.m"],
      [Object.assign([1], { [Symbol("x")]: 1 }), "$"],
      // a hole and a property more: the counts agree
      [Object.assign([], { length: 1, extra: 1 }), "$"],
    ],
  },
  {
    name: "`Date`, `Map`, `Set`, buffers with properties of their own",
    make: () => [
      [Object.assign(new Date(0), { zone: "x" }), "$"],
      [[Object.assign(new Map(), { x: 1 })], "$[0]"],
      [Object.assign(new Set(), { [Symbol("x")]: 1 }), "$"],
      [Object.assign(new ArrayBuffer(1), { x: 1 }), "$"],
      [Object.assign(new DataView(new ArrayBuffer(1)), { x: 1 }), "$"],
    ],
  },
  {
    name: "shared, resizable and transferred memory",
    make: () => [
      [{ a: new Uint8Array(new SharedArrayBuffer(4)) }, "$.a"],
      [new DataView(new SharedArrayBuffer(4)), "$"],
      [resizable(), "$"],
      [[new Uint8Array(resizable())], "$[0]"],
      [transferred(), "$"],
      [[detachedView()], "$[0]"],
    ],
  },
  {
    name: "nesting deeper than 128, or than `depthMax`",
    make: () => [
      [nested(129, (inner) => [inner]), `$${"[0]".repeat(10)}…${"[0]".repeat(10)}`],
      [nested(1_000_000, (inner) => [inner]), `$${"[0]".repeat(10)}…${"[0]".repeat(10)}`],
      [nested(1_000_000, (inner) => ({ a: inner })), `$${".a".repeat(10)}…${".a".repeat(10)}`],
      [nested(200_000, (inner) => new Map([[inner, 1]])), `$${".keys()[0]".repeat(10)}…${".keys()[0]".repeat(10)}`],
      [nested(200_000, (inner) => new Set([inner])), `$${".values()[0]".repeat(10)}…${".values()[0]".repeat(10)}`],
    ],
  },
];

export function nested(depth: number, wrap: (inner: unknown) => unknown): unknown {
  let value: unknown = 1;
  for (let i = 0; i < depth; i++) value = wrap(value);
  return value;
}

function cycles(): (readonly [unknown, string])[] {
  const object: Record<string, unknown> = {};
  object["self"] = object;
  const array: unknown[] = [1];
  array.push({ back: array });
  const map = new Map<string, unknown>();
  map.set("a", [map]);
  const set = new Set<unknown>();
  set.add(set);
  return [
    [object, "$.self"],
    [array, "$[1].back"],
    [{ deep: [object] }, "$.deep[0].self"],
    [map, "$.values()[0][0]"],
    [set, "$.values()[0]"],
  ];
}

/** How a place is named in a Map, a Set, under an odd key. */
export function places(): (readonly [unknown, string])[] {
  const f = () => 1;
  return [
    [new Map([["a", f]]), "$.values()[0]"],
    [
      new Map<unknown, unknown>([
        ["a", 1],
        [[f], 1],
      ]),
      "$.keys()[1][0]",
    ],
    [{ s: new Set<unknown>([1, f]) }, "$.s.values()[1]"],
    [{ "a b": { 'c"': [f] } }, '$["a b"]["c\\""][0]'],
    [{ 1: f }, '$["1"]'],
  ];
}

function resizable(): ArrayBuffer {
  return Reflect.construct(ArrayBuffer, [8, { maxByteLength: 16 }]) as ArrayBuffer;
}

function transferred(): ArrayBuffer {
  const buffer = new ArrayBuffer(8);
  structuredClone(buffer, { transfer: [buffer] });
  return buffer;
}

function detachedView(): Uint8Array {
  const view = new Uint8Array(8);
  structuredClone(view.buffer, { transfer: [view.buffer] });
  return view;
}
