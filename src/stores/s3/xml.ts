/** One element of an answer: S3's answers have no mixed content and no attributes that matter. */
export interface Element {
  readonly name: string;
  /** The text, entities resolved; "" of an element that has others. */
  readonly text: string;
  readonly children: readonly Element[];
}

const DEPTH_MAX = 8;
/** A list of 1,000 objects has about 8 elements for each. */
const ELEMENTS_MAX = 40_000;

const TAG = /<(?:(\?)[^<>?]*\?|(\/)?([A-Za-z][\w.-]*)((?:\s+[\w:.-]+\s*=\s*(?:"[^"<]*"|'[^'<]*'))*)\s*(\/)?)>/y;
const ENTITIES: Readonly<Record<string, string>> = { lt: "<", gt: ">", amp: "&", quot: '"', apos: "'" };

/**
 * The root of an XML document of the kind that S3 answers with; undefined for everything else. Document types, comments,
 * CDATA, unknown entities and more depth or elements than S3 has use for are refused, not interpreted.
 */
export function parseXml(document: string): Element | undefined {
  const text = document.startsWith("\uFEFF") ? document.slice(1) : document;
  const root: Open = { name: "", text: "", children: [] };
  const open: Open[] = [root];
  let elements = 0;
  let at = 0;
  while (at < text.length) {
    const here = open.at(-1);
    if (here === undefined) return undefined;
    const next = text.indexOf("<", at);
    const run = text.slice(at, next === -1 ? undefined : next);
    const resolved = withoutEntities(run);
    if (resolved === undefined || (here === root && resolved.trim() !== "")) return undefined;
    here.text += resolved;
    if (next === -1) break;
    TAG.lastIndex = next;
    const tag = TAG.exec(text);
    if (tag === null) return undefined;
    at = TAG.lastIndex;
    const [, instruction, closing, name = "", , empty] = tag;
    if (instruction !== undefined) continue;
    if (closing !== undefined) {
      if (here === root || here.name !== name) return undefined;
      open.pop();
      continue;
    }
    const element: Open = { name, text: "", children: [] };
    here.children.push(element);
    if (++elements > ELEMENTS_MAX || open.length > DEPTH_MAX) return undefined;
    if (empty === undefined) open.push(element);
  }
  const [first, ...more] = root.children;
  return open.length === 1 && more.length === 0 ? first : undefined;
}

interface Open extends Element {
  text: string;
  readonly children: Open[];
}

function withoutEntities(text: string): string | undefined {
  if (!text.includes("&")) return text;
  let known = true;
  const resolved = text.replace(/&(?:#(\d{1,7})|#x([0-9a-fA-F]{1,6})|(\w{1,8}));|&/g, (_, decimal, hex, name) => {
    const point = decimal === undefined ? Number.parseInt(String(hex), 16) : Number(decimal);
    const char = name === undefined ? fromPoint(point) : ENTITIES[String(name)];
    if (char === undefined) known = false;
    return char ?? "";
  });
  return known ? resolved : undefined;
}

function fromPoint(point: number): string | undefined {
  return point >= 0 && point <= 0x10ffff ? String.fromCodePoint(point) : undefined;
}

/** The text of the first child of this name. */
export function textOf(element: Element | undefined, name: string): string | undefined {
  return element?.children.find((child) => child.name === name)?.text;
}
