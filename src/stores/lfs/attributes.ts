/** The file by which git knows, in each folder, which files the LFS client has to exchange. */
export const ATTRIBUTES = ".gitattributes";
const SAYS = "filter=lfs diff=lfs merge=lfs -text";

/**
 * The text with a line for each name of the folder that is a pointer now, and without those of names that are none.
 * Other lines stay as they are, whoever wrote them.
 */
export function withAttributes(text: string, add: ReadonlySet<string>, remove: ReadonlySet<string>): string {
  const gone = new Set([...remove].filter((name) => !add.has(name)).map(lineOf));
  const lines = text.split("\n");
  if (lines.at(-1) === "") lines.pop();
  const kept = lines.filter((line) => !gone.has(line));
  const there = new Set(kept);
  for (const line of [...add].map(lineOf).sort()) if (!there.has(line)) kept.push(line);
  return kept.length === 0 ? "" : `${kept.join("\n")}\n`;
}

/** A pattern that means this name in this folder and nothing else. */
function lineOf(name: string): string {
  // A slash in front ties it to the folder; what the pattern language or the line would take for more is spelled out.
  const pattern = name.replaceAll(/[[\]!]/g, "\\$&").replaceAll(" ", "[[:space:]]");
  return `/${pattern} ${SAYS}`;
}
