import { SyncError } from "../error.ts";

/**
 * Splits a chain written as one text, `memory: lmdb:./x "git:./my repo"`, at white space. Single or double quotes keep
 * spaces; there is no other escape.
 * @throws SyncError INVALID for a quote that is not closed.
 */
export function words(text: string): string[] {
  const found: string[] = [];
  let word: string | undefined;
  let quote = "";
  for (const char of text) {
    if (quote !== "") {
      if (char === quote) quote = "";
      else word += char;
    } else if (char === '"' || char === "'") {
      quote = char;
      word ??= "";
    } else if (char === " " || char === "\t" || char === "\n" || char === "\r") {
      if (word !== undefined) found.push(word);
      word = undefined;
    } else {
      word = (word ?? "") + char;
    }
  }
  if (quote !== "") {
    throw new SyncError("INVALID", `the chain has a ${quote} that is not closed`, { cure: `add the second ${quote}` });
  }
  if (word !== undefined) found.push(word);
  return found;
}
