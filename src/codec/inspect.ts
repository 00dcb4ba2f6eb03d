import { intrinsicGetter, intrinsicMethod, optionalGetter, typedArrayName, viewBuffer, viewKindOf } from "./kinds.ts";

/** What one look at a value says: how it can be written, or that it cannot. Ordered: the worst of the parts decides. */
export const JSON_EXACT = 0;
export const NEEDS_MESSAGEPACK = 1;
export const REFUSED = 2;
export type Verdict = typeof JSON_EXACT | typeof NEEDS_MESSAGEPACK | typeof REFUSED;

/** Whether texts are looked at: one by one that takes a tenth of the walk, and what was written says whether it has to be. */
export type Texts = "looked at" | "left to the writer";

export interface InspectLimits {
  /** Containers inside one another. */
  readonly depthMax: number;
  /** Values in all, those of a shared part counted as often as it is met. */
  readonly nodesMax: number;
}

const { getOwnPropertyDescriptor, getOwnPropertyNames, getOwnPropertySymbols, getPrototypeOf, keys } = Object;
/** Of an array it takes half of what the two above do, of an object several times as much. */
const { ownKeys } = Reflect;
const mapSize = intrinsicGetter(Map.prototype, "size");
const mapEntries = intrinsicMethod<Iterable<[unknown, unknown]>>(Map.prototype, "entries");
const setSize = intrinsicGetter(Set.prototype, "size");
const setValues = intrinsicMethod<Iterable<unknown>>(Set.prototype, "values");
const dateTime = intrinsicMethod(Date.prototype, "getTime");
const bufferLength = intrinsicGetter<number>(ArrayBuffer.prototype, "byteLength");
/** Absent from older runtimes, where no buffer can be resized. */
const bufferResizable = optionalGetter<boolean>(ArrayBuffer.prototype, "resizable");
/** Finds a getter without calling it. The two say what a descriptor does, without making one for each part. */
const lookupGetter = intrinsicMethod(Object.prototype, "__lookupGetter__");
const isEnumerable = intrinsicMethod<boolean>(Object.prototype, "propertyIsEnumerable");

/** A longer path is shown without its middle. */
const PATH_STEPS_MAX = 20;
const ACCESSOR = "is a getter or setter";
const TOO_MANY = "is beyond the number of parts a value may have";

/**
 * One walk over a value that says whether JSON holds it exactly, MessagePack has to, or it is refused, where and why.
 * It runs no code of the value: no getter, no `toJSON`. (A Proxy cannot be told from what it stands for; its traps run.)
 */
export class Inspection {
  private readonly limits: InspectLimits;
  private readonly looksAtTexts: boolean;
  private nodes = 0;
  private refusal: Refusal | undefined = undefined;

  constructor(limits: InspectLimits, texts: Texts) {
    this.limits = limits;
    this.looksAtTexts = texts === "looked at";
  }

  /** Whether the refusal is for the number of parts, not for their kind. */
  get tooMany(): boolean {
    return this.nodes > this.limits.nodesMax;
  }

  /** Why the value is refused, and of which part that is said, as one would write it: `$.users[3].name`. */
  get refused(): { readonly path: string; readonly why: string } {
    return said(this.refusal ?? { why: "", steps: [], around: [], tooDeep: undefined });
  }

  /** @param depth containers around the value. */
  visit(value: unknown, depth: number): Verdict {
    switch (typeof value) {
      case "string":
        if (this.looksAtTexts && !value.isWellFormed()) return this.refuse("holds half of a surrogate pair");
        return JSON_EXACT;
      case "number":
        return Number.isFinite(value) && !(value === 0 && 1 / value < 0) ? JSON_EXACT : NEEDS_MESSAGEPACK;
      case "boolean":
        return JSON_EXACT;
      case "undefined":
      case "bigint":
        return NEEDS_MESSAGEPACK;
      case "function":
      case "symbol":
        return this.refuse(`is a ${typeof value}`);
      case "object":
        return value === null ? JSON_EXACT : this.visitObject(value, depth);
    }
  }

  private visitObject(value: object, depth: number): Verdict {
    if (depth >= this.limits.depthMax) return this.refuse(`is nested deeper than ${this.limits.depthMax}`, value);
    if (Array.isArray(value)) return this.visitArray(value, depth);
    const prototype: unknown = getPrototypeOf(value);
    if (prototype === Object.prototype) return this.visitPlain(value, depth, JSON_EXACT);
    if (prototype === null) return this.visitPlain(value, depth, NEEDS_MESSAGEPACK);
    return this.visitKind(value, prototype as object, depth);
  }

  private visitPlain(value: object, depth: number, verdict: Verdict): Verdict {
    const names = getOwnPropertyNames(value);
    const { length } = names;
    // Cheaper than asking of each.
    const isAllEnumerable = keys(value).length === length;
    if (getOwnPropertySymbols(value).length > 0) return this.refuse("has a symbol as key");
    if (this.count(length)) return this.refuse(TOO_MANY);
    let worst = verdict;
    for (let i = 0; i < length; i++) {
      const name = names[i] as string;
      if (name === "__proto__") return this.refuse('has the key "__proto__"');
      if (this.looksAtTexts && !name.isWellFormed()) {
        return this.refuse("has a key that holds half of a surrogate pair");
      }
      const part =
        isAllEnumerable || isEnumerable.call(value, name)
          ? this.visitPart(value, name, depth)
          : this.refuse("is not enumerable");
      if (part === REFUSED) return this.at(stepOf(name), value);
      if (part > worst) worst = part;
    }
    return worst;
  }

  private visitArray(value: readonly unknown[], depth: number): Verdict {
    const prototype = getPrototypeOf(value) as object | null;
    if (prototype !== Array.prototype) return this.refuse(instanceOf(prototype));
    const { length } = value;
    const names = ownKeys(value);
    // An array lists its indices first, then "length": anywhere else, there is a hole or something more.
    if (names.length <= length) return this.refuse("is an array with holes");
    if (names[length] !== "length" || names.length !== length + 1) {
      return this.refuse("is an array with properties of its own");
    }
    if (this.count(length)) return this.refuse(TOO_MANY);
    let worst: Verdict = JSON_EXACT;
    for (let i = 0; i < length; i++) {
      const part = this.visitPart(value, i, depth);
      if (part === REFUSED) return this.at(`[${i}]`, value);
      if (part > worst) worst = part;
    }
    return worst;
  }

  private visitPart(value: object, name: string | number, depth: number): Verdict {
    if (lookupGetter.call(value, name) !== undefined) return this.refuse(ACCESSOR);
    const part = (value as Readonly<Record<string | number, unknown>>)[name];
    // A setter alone reads as undefined.
    if (part === undefined && getOwnPropertyDescriptor(value, name)?.writable === undefined) {
      return this.refuse(ACCESSOR);
    }
    return this.visit(part, depth + 1);
  }

  private visitKind(value: object, prototype: object, depth: number): Verdict {
    if (typedArrayName.call(value) !== undefined) return this.visitView(value, prototype);
    if (prototype === Map.prototype && isBranded(mapSize, value)) return this.visitMap(value, depth);
    if (prototype === Set.prototype && isBranded(setSize, value)) return this.visitSet(value, depth);
    if (prototype === Date.prototype && isBranded(dateTime, value)) return this.visitBare(value);
    if (prototype === ArrayBuffer.prototype && isBranded(bufferLength, value)) return this.visitBuffer(value, value);
    if (prototype === DataView.prototype && isView(value)) return this.visitView(value, prototype);
    return this.refuse(instanceOf(prototype));
  }

  private visitMap(value: object, depth: number): Verdict {
    if (this.visitBare(value) === REFUSED) return REFUSED;
    let i = 0;
    for (const [key, part] of mapEntries.call(value)) {
      if (this.count(2)) return this.refuse(TOO_MANY);
      if (this.visit(key, depth + 1) === REFUSED) return this.at(`.keys()[${i}]`, value);
      if (this.visit(part, depth + 1) === REFUSED) return this.at(`.values()[${i}]`, value);
      i++;
    }
    return NEEDS_MESSAGEPACK;
  }

  private visitSet(value: object, depth: number): Verdict {
    if (this.visitBare(value) === REFUSED) return REFUSED;
    let i = 0;
    for (const part of setValues.call(value)) {
      if (this.count(1)) return this.refuse(TOO_MANY);
      if (this.visit(part, depth + 1) === REFUSED) return this.at(`.values()[${i}]`, value);
      i++;
    }
    return NEEDS_MESSAGEPACK;
  }

  private visitView(value: object, prototype: object): Verdict {
    const name = typedArrayName.call(value);
    const isItself = viewKindOf(prototype)?.name === (name ?? "DataView");
    if (!isItself && !isNodeBuffer(prototype)) return this.refuse(instanceOf(prototype));
    // The names of a typed array's own properties begin with all its indices: too many to look for others.
    if (name === undefined && this.visitBare(value) === REFUSED) return REFUSED;
    return this.visitBuffer(viewBuffer(value), value);
  }

  private visitBuffer(buffer: object, value: object): Verdict {
    if (getPrototypeOf(buffer) !== ArrayBuffer.prototype) return this.refuse("shows memory that is shared");
    if (bufferResizable?.call(buffer) === true) return this.refuse("shows a buffer that can be resized");
    if (isDetached(buffer as ArrayBuffer)) return this.refuse("shows a buffer that was transferred away");
    return buffer === value ? this.visitBare(value) : NEEDS_MESSAGEPACK;
  }

  /** Properties that were added to an object of the language would be lost. */
  private visitBare(value: object): Verdict {
    return ownKeys(value).length === 0
      ? NEEDS_MESSAGEPACK
      : this.refuse("has properties of its own beside its content");
  }

  private count(parts: number): boolean {
    this.nodes += parts;
    return this.nodes > this.limits.nodesMax;
  }

  private refuse(why: string, tooDeep?: object): typeof REFUSED {
    this.refusal = { why, steps: [], around: [], tooDeep };
    return REFUSED;
  }

  private at(step: string, value: object): typeof REFUSED {
    this.refusal?.steps.push(step);
    this.refusal?.around.push(value);
    return REFUSED;
  }
}

/** Put together on the way back from the refused part: a value that is not refused costs nothing of it. */
interface Refusal {
  readonly why: string;
  /** The way to the part, and what it leads through: innermost first. */
  readonly steps: string[];
  readonly around: object[];
  /** The part, where only its depth is wrong. */
  readonly tooDeep: object | undefined;
}

function said({ why, steps, around, tooDeep }: Refusal): { readonly path: string; readonly why: string } {
  const path = steps.toReversed();
  if (tooDeep === undefined) return { path: pathOf(path), why };
  // A cycle shows itself by its depth; which of the two it is, is asked only now.
  const seen = new Set<object>();
  for (const [at, container] of [...around.toReversed(), tooDeep].entries()) {
    if (seen.has(container)) return { path: pathOf(path.slice(0, at)), why: "contains itself" };
    seen.add(container);
  }
  return { path: pathOf(path), why };
}

function pathOf(steps: readonly string[]): string {
  const shown = [...steps];
  if (shown.length > PATH_STEPS_MAX) shown.splice(PATH_STEPS_MAX / 2, shown.length - PATH_STEPS_MAX, "…");
  return `$${shown.join("")}`;
}

function isBranded(intrinsic: (this: unknown) => unknown, value: object): boolean {
  try {
    intrinsic.call(value);
    return true;
  } catch {
    return false; // the prototype is borrowed
  }
}

function isView(value: object): boolean {
  try {
    viewBuffer(value);
    return true;
  } catch {
    return false; // the prototype is borrowed
  }
}

/** Memory that was handed to someone else reads as empty; only using it tells. */
function isDetached(buffer: ArrayBuffer): boolean {
  if (bufferLength.call(buffer) > 0) return false;
  try {
    return new Uint8Array(buffer).length > 0;
  } catch {
    return true;
  }
}

/** Node's Buffer is what its files and sockets give: bytes, stored as bytes. */
function isNodeBuffer(prototype: object): boolean {
  return getPrototypeOf(prototype) === Uint8Array.prototype && className(prototype) === "Buffer";
}

function instanceOf(prototype: object | null): string {
  const name = prototype === null ? undefined : className(prototype);
  return name === undefined ? "has a prototype of its own" : `is an instance of ${name}`;
}

/** By descriptors alone: a class may have made `constructor` or `name` a getter. */
function className(prototype: object): string | undefined {
  const constructor: unknown = getOwnPropertyDescriptor(prototype, "constructor")?.value;
  if (typeof constructor !== "function") return undefined;
  const name: unknown = getOwnPropertyDescriptor(constructor, "name")?.value;
  return typeof name === "string" && name !== "" ? name.slice(0, 64) : undefined;
}

const IDENTIFIER = /^[A-Za-z_$][\w$]*$/;

function stepOf(name: string): string {
  if (IDENTIFIER.test(name)) return `.${name.length > 64 ? `${name.slice(0, 64)}…` : name}`;
  return `[${JSON.stringify(name.length > 64 ? `${name.slice(0, 64)}…` : name)}]`;
}
