import { describe, expect, it } from "vitest";
import { globOf } from "../../src/session/glob.ts";
import { random } from "../../src/testing/random.ts";

/** The same by a regular expression, which takes too long for some texts. */
function expected(pattern: string): RegExp {
  const parts = (pattern.match(/\*\*|[^]/gu) ?? []).map((part) => {
    if (part === "**") return ".*";
    if (part === "*") return "[^/]*";
    return part === "?" ? "[^/]" : part.replace(/[\\^$.|+()[\]{}/]/, String.raw`\$&`);
  });
  return new RegExp(`^${parts.join("")}$`, "su");
}

describe("a pattern", () => {
  it.each([
    ["", "", true],
    ["", "a", false],
    ["*.txt", "a.txt", true],
    ["*.txt", "a/b.txt", false],
    ["**.txt", "a/b.txt", true],
    ["a/**", "a/", true],
    ["a/**/b", "a/b", false],
    ["?", "\u{1F600}", true],
    ["?", "/", false],
    ["[a].md", "[a].md", true],
    ["a.c", "abc", false],
    ["a\nb", "a\nb", true],
  ])("%j matches %j: %s", (pattern, text, matches) => {
    expect(globOf(pattern)(text)).toBe(matches);
  });

  it("matches what a regular expression would, also when it is used again", () => {
    const chance = random(5);
    const text = (from: readonly string[], max: number) =>
      Array.from({ length: chance.below(max) }, () => chance.pick(from)).join("");
    for (let i = 0; i < 300; i++) {
      const pattern = text(["a", "b", "/", "*", "**", "?", "."], 7);
      const [matches, regular] = [globOf(pattern), expected(pattern)];
      for (let j = 0; j < 20; j++) {
        const key = text(["a", "b", "/", "."], 9);
        expect([pattern, key, matches(key)]).toEqual([pattern, key, regular.test(key)]);
      }
    }
  });

  // Mutation: a regular expression, which does not come to an end here.
  it("is done with the worst key at once", () => {
    const matches = globOf(`${"**a*a".repeat(20)}b`);
    for (let i = 0; i < 50; i++) expect(matches("a".repeat(512))).toBe(false);
  });
});
