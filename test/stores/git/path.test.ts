import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { utf8Length } from "../../../src/entry.ts";
import { insidePath, keyOfPath, literalPath, pathOfKey, placesOfKey } from "../../../src/stores/git-layout/path.ts";
import { LONG_KEYS, WEIRD_KEYS } from "../../../src/testing/index.ts";

/** The table of docs/stores/git.md. */
const TABLE: readonly (readonly [string, string])[] = [
  ["users/1.json", "users/1.json"],
  ["api.AbortController/abort", "api.AbortController/abort"],
  ["naïve/日本", "naïve/日本"],
  ["A", "A"],
  [".", "%2E"],
  ["..", "%2E%2E"],
  ["a/../b", "a/%2E%2E/b"],
  ["a//b", "a/%empty/b"],
  ["/a", "%empty/a"],
  ["a/", "a/%empty"],
  [".git/config", "%2Egit/config"],
  [".GIT", "%2EGIT"],
  [".gitmodules", "%2Egitmodules"],
  ["git~1", "git%7E1"],
  [".g\u200cit", ".g%E2%80%8Cit"],
  [".microsync/x", "%2Emicrosync/x"],
  ["CON", "%43ON"],
  ["aux.c", "%61ux.c"],
  ["com1 .txt", "%63om1 .txt"],
  ["console", "console"],
  ["a.", "a%2E"],
  ["a ", "a%20"],
  ['<>:"|?*\\', "%3C%3E%3A%22%7C%3F%2A%5C"],
  ["100%", "100%25"],
  ["%value", "%25value"],
  ["line\nfeed", "line%0Afeed"],
];

/** Few characters, all of them with a meaning somewhere. */
const part = fc.constantFrom(
  ...Array.from("aAb./%~: .1-é\u0301\u200c\u0000\\"),
  ".git",
  "..",
  "con",
  "%value",
  "%empty",
  "%-",
  "%2E",
  "%25",
  "x".repeat(250),
  "\u{1f600}".repeat(30),
);
const keys = fc
  .array(part, { minLength: 1, maxLength: 8 })
  .map((parts) => parts.join(""))
  .filter((key) => utf8Length(key) <= 512);

describe("the path rule", () => {
  it.each(TABLE)("%j stands at %j", (key, path) => {
    expect(pathOfKey(key)).toBe(path);
    expect(keyOfPath(path)).toBe(key);
  });

  // Mutations these catch: an escape left out of the set, decoding without encoding again, parts cut within an escape.
  it("is reversible for every key, at its own place and inside its folder", () => {
    fc.assert(
      fc.property(keys, (key) => {
        const path = pathOfKey(key);
        expect(keyOfPath(path)).toBe(key);
        expect(keyOfPath(insidePath(path))).toBe(key);
        for (const place of placesOfKey(key)) expect(keyOfPath(place)).toBe(key);
      }),
      { numRuns: 5_000 },
    );
  });

  it("gives names that git, Windows and every checkout take", () => {
    fc.assert(
      fc.property(keys, (key) => {
        for (const segment of pathOfKey(key).split("/")) {
          expect(segment).not.toMatch(/^\.{0,2}$|[. ]$|[<>:"|?*\\\p{Cc}\u200c\ufeff]|~[0-9]/u);
          expect(segment).not.toMatch(/^\.git|^\.microsync$|^(?:con|prn|aux|nul|com[0-9]|lpt[0-9]) *(?:\.|$)/i);
          expect(utf8Length(segment)).toBeLessThanOrEqual(255);
        }
      }),
      { numRuns: 5_000 },
    );
  });

  it("never puts two keys on one path, nor a key's file where another needs its folder to be a key's", () => {
    fc.assert(
      fc.property(keys, keys, (a, b) => {
        if (a === b) return;
        expect(pathOfKey(a)).not.toBe(pathOfKey(b));
        expect(insidePath(pathOfKey(a))).not.toBe(pathOfKey(b));
      }),
      { numRuns: 5_000 },
    );
  });

  it("gives every path that a tree may hold at most one key, which finds it there again", () => {
    const names = fc.array(part, { minLength: 1, maxLength: 6 }).map((parts) => parts.join(""));
    fc.assert(
      fc.property(names, (path) => {
        const key = keyOfPath(path);
        if (key !== undefined) expect(placesOfKey(key)).toContain(path);
      }),
      { numRuns: 5_000 },
    );
  });

  it("leaves what others made under names that it would escape where it is", () => {
    for (const path of ["CON", "drivers/aux.c", "a%2Fb", "what?", "trailing.", ".gitignore", "50%"]) {
      expect(keyOfPath(path)).toBe(path);
      expect(literalPath(path)).toBe(path);
    }
    expect(keyOfPath("100%25")).toBe("100%"); // reads as an escape, so it is one
    expect(keyOfPath(".microsync/entries/x")).toBeUndefined();
    expect(keyOfPath("x".repeat(513))).toBeUndefined();
  });

  it.each([...WEIRD_KEYS, ...LONG_KEYS].map((key) => [key]))("takes the suite's key %j", (key) => {
    expect(keyOfPath(pathOfKey(key))).toBe(key);
  });
});
