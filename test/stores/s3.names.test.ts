import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { compareKeys } from "../../src/entry.ts";
import { SyncError } from "../../src/error.ts";
import { RESERVED, checkPrefix, keyBytesMaxFor, keyOf, nameOf, prefixNameOf } from "../../src/stores/s3/names.ts";

/** Few characters, those that names treat in their own way and their neighbours in the order. */
const SIGNS = ["/", "/", ".", ".", "a", "~", "}", "!", " ", "\0", "\u0001", "\u0002", "é", "\u{10FFFF}", "0", "-", "s"];
const odd = fc
  .array(fc.constantFrom(...SIGNS, "{", '"', "\uFFFF"), { minLength: 1, maxLength: 7 })
  .map((signs) => signs.join(""));
const whatever = fc.string({ unit: "binary", minLength: 1, maxLength: 20 }).filter((key) => key.isWellFormed());
const key = fc.oneof(odd, whatever);
const runs = { seed: 1, numRuns: 20_000 };

describe("names of objects", () => {
  // Mutation: any of the escapes left out.
  it("give every key back", () => {
    fc.assert(
      fc.property(key, (key) => {
        expect(keyOf(nameOf(key))).toBe(key);
      }),
      runs,
    );
  });

  // Mutation: END after a last dot, `behindDots` below or above, SLASH as anything else.
  it("are in the byte order of the keys", () => {
    const order = (a: string, b: string) => Math.sign(compareKeys(a, b));
    fc.assert(
      fc.property(odd, odd, (a, b) => {
        expect(order(nameOf(a), nameOf(b))).toBe(order(a, b));
      }),
      { ...runs, numRuns: 60_000 },
    );
  });

  it("begin with what the prefix of the keys says", () => {
    fc.assert(
      fc.property(key, key, (a, b) => {
        expect(nameOf(a + b).startsWith(prefixNameOf(a))).toBe(true);
      }),
      runs,
    );
  });

  it("have no segment that a URL parser or a proxy resolves, no U+0000, and never more than twice the bytes", () => {
    const bytes = (text: string) => Buffer.byteLength(text);
    fc.assert(
      fc.property(key, (key) => {
        const name = nameOf(key);
        const segments = name.split("/");
        expect(segments.some((part) => part === "." || part === "..")).toBe(false);
        expect(segments.slice(0, -1)).not.toContain("");
        expect(name).not.toContain("\0");
        expect(name.startsWith(RESERVED)).toBe(false);
        expect(bytes(name)).toBeLessThanOrEqual(2 * bytes(key));
        expect(new URL(`http://h/${encodeURIComponent(name).replaceAll("%2F", "/")}`).pathname).toBe(
          `/${encodeURIComponent(name).replaceAll("%2F", "/")}`,
        );
      }),
      runs,
    );
  });

  it.each([
    ["users/1", "users/1"],
    ["a b!c.txt", "a b!c.txt"],
    ["..", "..!"],
    ["../x", "...~x"],
    ["a/./b", "a/..~b"],
    ["a//b", "a/.~b"],
    ["/", ".~"],
    ["a/", "a/"],
    ["\0", "\u0001\u0001"],
    [".é", ".}é"],
    ["...", "..."],
  ])("write %j as %j", (key, name) => expect(nameOf(key)).toBe(name));

  it.each(["a//b", "/a", "a/../b", ".", ".é", ". ", "\0", "\u0001", RESERVED, `${RESERVED}watermark`, ""])(
    "take the foreign name %j for no key",
    (name) => expect(keyOf(name)).toBeUndefined(),
  );

  it("fit into what S3 takes, whatever the prefix", () => {
    for (const prefix of ["", "p/", "x".repeat(400)]) {
      const key = "/".repeat(keyBytesMaxFor(prefix));
      expect(Buffer.byteLength(prefix + nameOf(key))).toBeLessThanOrEqual(1024);
    }
    expect(keyBytesMaxFor("")).toBe(512);
    expect(keyBytesMaxFor("p/")).toBe(511);
  });

  it.each(["/", "a//", "../", "a/./", "\n", "x".repeat(401)])("refuse the prefix %j", (prefix) => {
    expect(() => checkPrefix(prefix)).toThrow(SyncError);
  });

  it.each(["", "a", "a/", "a/b-", "a b/é/"])("take the prefix %j", (prefix) => checkPrefix(prefix));
});
