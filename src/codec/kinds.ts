import { SyncError } from "../error.ts";

/**
 * What may stand inside a value beside plain data, and how it is known. Everything is asked of the language's own
 * getters, kept here at load, never of the value: a property that the value defines itself is user code.
 */

/** The numbers of our MessagePack extensions (docs/values.md). Never reused. */
export const EXT = {
  undefined: 0,
  bigint: 1,
  date: 2,
  map: 3,
  set: 4,
  nullPrototype: 5,
  buffer: 6,
  view: 7,
} as const;

/** Depth of containers that every decoder takes; encoders may be set lower, never higher. */
export const DEPTH_MAX = 512;

export interface ViewKind {
  /** The number in the extension. Never reused. */
  readonly code: number;
  readonly name: string;
  readonly prototype: object;
  /** Bytes of an element: the unit in which bytes are swapped on a big-endian machine. */
  readonly width: number;
  /** A view of the whole of `buffer`, which begins and ends with it. */
  readonly over: (buffer: ArrayBuffer) => ArrayBufferView;
}

interface ViewConstructor {
  readonly name: string;
  readonly BYTES_PER_ELEMENT?: number;
  readonly prototype: object;
  new (buffer: ArrayBuffer): ArrayBufferView;
}

/** Not in every runtime yet. */
declare const Float16Array: ViewConstructor | undefined;

const VIEWS: readonly (readonly [number, ViewConstructor | undefined])[] = [
  [0, DataView],
  [1, Uint8Array],
  [2, Int8Array],
  [3, Uint8ClampedArray],
  [4, Int16Array],
  [5, Uint16Array],
  [6, Int32Array],
  [7, Uint32Array],
  [8, Float32Array],
  [9, Float64Array],
  [10, BigInt64Array],
  [11, BigUint64Array],
  [12, typeof Float16Array === "undefined" ? undefined : Float16Array],
];

const KINDS: readonly ViewKind[] = VIEWS.flatMap(([code, View]) => (View === undefined ? [] : [kindOf(code, View)]));
const BY_PROTOTYPE: ReadonlyMap<object, ViewKind> = new Map(KINDS.map((kind) => [kind.prototype, kind]));
const BY_CODE: ReadonlyMap<number, ViewKind> = new Map(KINDS.map((kind) => [kind.code, kind]));

function kindOf(code: number, View: ViewConstructor): ViewKind {
  const { name, prototype, BYTES_PER_ELEMENT: width = 1 } = View;
  return { code, name, prototype, width, over: (buffer) => new View(buffer) };
}

export function viewKindOf(prototype: object): ViewKind | undefined {
  return BY_PROTOTYPE.get(prototype);
}

export function viewKind(code: number): ViewKind | undefined {
  return BY_CODE.get(code);
}

const TYPED_ARRAY: object = Object.getPrototypeOf(Uint8Array.prototype);

type Intrinsic<Result> = (this: unknown, key?: PropertyKey) => Result;

/** The getter of the language for a property of the language. */
export function intrinsicGetter<Result>(prototype: object, key: PropertyKey): Intrinsic<Result> {
  return present(optionalGetter<Result>(prototype, key), key);
}

/** The method of the language, to be called with what it is about. */
export function intrinsicMethod<Result>(prototype: object, key: PropertyKey): Intrinsic<Result> {
  const method: unknown = Object.getOwnPropertyDescriptor(prototype, key)?.value;
  return present(typeof method === "function" ? (method as Intrinsic<Result>) : undefined, key);
}

/** As {@link intrinsicGetter}, for what older platforms lack. */
export function optionalGetter<Result>(prototype: object, key: PropertyKey): Intrinsic<Result> | undefined {
  const property: { readonly get?: unknown } | undefined = Object.getOwnPropertyDescriptor(prototype, key);
  return typeof property?.get === "function" ? (property.get as Intrinsic<Result>) : undefined;
}

function present<Found>(found: Found | undefined, key: PropertyKey): Found {
  if (found === undefined) throw new SyncError("UNSUPPORTED", `the platform lacks ${String(key)}`);
  return found;
}

/** "Float64Array" and the like; undefined for whatever is not a typed array, whatever its prototype. */
export const typedArrayName = intrinsicGetter<string | undefined>(TYPED_ARRAY, Symbol.toStringTag);
const typedBuffer = intrinsicGetter<ArrayBufferLike>(TYPED_ARRAY, "buffer");
const typedOffset = intrinsicGetter<number>(TYPED_ARRAY, "byteOffset");
const typedLength = intrinsicGetter<number>(TYPED_ARRAY, "byteLength");
const dataBuffer = intrinsicGetter<ArrayBufferLike>(DataView.prototype, "buffer");
const dataOffset = intrinsicGetter<number>(DataView.prototype, "byteOffset");
const dataLength = intrinsicGetter<number>(DataView.prototype, "byteLength");

/** The buffer of a view. @throws TypeError when it is none. */
export function viewBuffer(view: object): ArrayBufferLike {
  return typedArrayName.call(view) === undefined ? dataBuffer.call(view) : typedBuffer.call(view);
}

/** The bytes a view shows, not copied. @throws TypeError when it is none, or was detached. */
export function viewBytes(view: object): Uint8Array {
  if (typedArrayName.call(view) === undefined) {
    return new Uint8Array(dataBuffer.call(view), dataOffset.call(view), dataLength.call(view));
  }
  return new Uint8Array(typedBuffer.call(view), typedOffset.call(view), typedLength.call(view));
}

const LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

/** Puts elements into, or back from, little-endian order, which is the order of the format. In place. */
export function toLittleEndian<Bytes extends Uint8Array>(
  bytes: Bytes,
  width: number,
  littleEndian = LITTLE_ENDIAN,
): Bytes {
  if (littleEndian || width === 1) return bytes;
  for (let at = 0; at + width <= bytes.length; at += width) bytes.subarray(at, at + width).reverse();
  return bytes;
}
