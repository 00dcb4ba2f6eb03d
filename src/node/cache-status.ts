import type { Answer } from "../store.ts";
import type { Shape } from "../protocol.ts";

/**
 * The walk of one read as `Cache-Status` (RFC 9211): a member for each layer that was asked, across nodes, the one next
 * to the source first. An answer's `from` is the path of layer names that leads to the leaf that gave it; the layers in
 * front of each were asked in vain.
 */
export function cacheStatus(shape: Shape, answer: Pick<Answer, "from" | "entry" | "stale" | "complete">): string {
  const members: string[] = [];
  walk(shape, answer.from.split("/"), "", answer, members);
  return members.toReversed().join(", ");
}

function walk(
  { layers, node }: Shape,
  path: readonly string[],
  outer: string,
  answer: Pick<Answer, "entry" | "stale" | "complete">,
  members: string[],
): void {
  const [name = "", ...rest] = path;
  const at = layers.findIndex((layer) => layer.name === name);
  const asked = at === -1 ? layers : layers.slice(0, at);
  const isFilled = answer.entry !== undefined && !answer.stale && answer.complete;
  for (const { name: passed, role, below } of asked) {
    if (below !== undefined) continue; // what was asked behind it is not known
    const stored = at !== -1 && role === "cache" && isFilled ? "; stored" : "";
    members.push(`${member(outer, passed)}; fwd=miss${stored}`);
  }
  if (at === -1) {
    // Nobody in particular: absence, or the journal of the node.
    if (!layers.some(({ name: known }) => known === name))
      members.push(`${member(outer, name === "" ? node : name)}; hit`);
    return;
  }
  const { below } = layers[at] as Shape["layers"][number];
  if (below === undefined || rest.length === 0) {
    members.push(`${member(outer, path.join("/"))}; hit${answer.stale ? '; detail="stale"' : ""}`);
    return;
  }
  walk(below, rest, `${outer}${below.node}/`, answer, members);
}

/** A token where it can be one, else a string (RFC 8941). */
function member(outer: string, name: string): string {
  const text = `${outer}${name}`;
  if (/^[A-Za-z*][\w!#$%&'*+.^`|~:/-]*$/.test(text)) return text;
  return `"${text.replaceAll(/[^\x20-\x7e]/g, "?").replaceAll(/["\\]/g, "\\$&")}"`;
}
