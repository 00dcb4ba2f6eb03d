/** The runnable parts of a document, as one program. */
export interface Program {
  readonly imports: readonly string[];
  /** What each block does; the first one's names are known to those that follow, as one reads them. */
  readonly blocks: readonly string[];
}

const BLOCK = /^```ts\n(.*?)^```$/gms;

export function programOf(markdown: string): Program {
  const imports: string[] = [];
  const blocks: string[] = [];
  for (const [, block = ""] of markdown.matchAll(BLOCK)) {
    const lines = block.split("\n");
    imports.push(...lines.filter((line) => line.startsWith("import ")));
    blocks.push(lines.filter((line) => !line.startsWith("import ")).join("\n"));
  }
  return { imports, blocks };
}

/**
 * The program as a module that gives every result and what the document says of it: `expression; // → value` is pushed to
 * `results` as a pair. The lines keep their types, so the compiler judges the examples as they stand.
 */
export function moduleOf({ imports, blocks }: Program): string {
  const body = blocks.map((block) => block.replaceAll(EXPECTATION, expectation));
  const [first = "", ...rest] = body;
  return [
    ...imports,
    "export const results: (readonly [line: string, actual: unknown, expected: unknown])[] = [];",
    first,
    ...rest.map((block) => `{\n${block}\n}`),
  ].join("\n");
}

/** A statement that may span lines when they are indented or close it, and what it gives. */
const EXPECTATION = /^(\S[^\n]*(?:\n(?: [^\n]*|\}[^\n]*))*?); \/\/ → ([^\n]+)$/gm;

function expectation(_match: string, statement: string, value: string): string {
  const line = JSON.stringify(statement.split("\n", 1)[0]);
  const [, name] = /^const (\w+) =/.exec(statement) ?? [];
  if (name !== undefined) return `${statement};\nresults.push([${line}, ${name}, ${value}]);`;
  return `results.push([${line}, ${statement}, ${value}]);`;
}
