import { describe, expect, it } from "vitest";
import { formatMs, summarise } from "../../examples/start/durations.ts";
import { loadFeatures } from "../../examples/start/features.ts";
import { progress, steps } from "../../examples/start/progress.ts";
import { box, paintFor } from "../../examples/start/table.ts";

describe("durations", () => {
  it("are summed up by the nearest rank", () => {
    const samples = Array.from({ length: 100 }, (_, i) => 100 - i);
    expect(summarise(samples)).toEqual({ count: 100, p50Ms: 50, p99Ms: 99, totalMs: 5050 });
    expect(summarise([7])).toEqual({ count: 1, p50Ms: 7, p99Ms: 7, totalMs: 7 });
    expect(summarise([])).toEqual({ count: 0, p50Ms: 0, p99Ms: 0, totalMs: 0 });
  });

  it.each([
    [0, "0"],
    [0.00083, "0.83 µs"],
    [0.0124, "12.4 µs"],
    [0.9999, "1000 µs"],
    [12.35, "12.3 ms"],
    [999, "999 ms"],
    [61_234, "61.2 s"],
  ])("%d ms is %s", (ms, text) => {
    expect(formatMs(ms)).toBe(text);
  });
});

describe("the box", () => {
  const columns = [
    { title: "layer", align: "left" },
    { title: "hits", align: "right" },
  ] as const;

  it("aligns words to the left and numbers to the right", () => {
    expect(box(columns, [["git", "20,968"]], paintFor({}, {}))).toEqual([
      "┌───────┬────────┐",
      "│ layer │   hits │",
      "├───────┼────────┤",
      "│ git   │ 20,968 │",
      "└───────┴────────┘",
    ]);
  });

  it("has colours on a terminal only, and none under NO_COLOR", () => {
    const coloured = (isTTY: boolean, env: Record<string, string>) =>
      box(columns, [["git", "1"]], paintFor({ isTTY }, env))
        .join("")
        .includes("\u001b[");
    expect(coloured(true, {})).toBe(true);
    expect(coloured(true, { NO_COLOR: "1" })).toBe(false);
    expect(coloured(true, { TERM: "dumb" })).toBe(false);
    expect(coloured(false, {})).toBe(false);
  });
});

describe("the progress bar", () => {
  it("draws within the terminal's width, and is gone at the end", () => {
    const drawn: string[] = [];
    const bar = progress("filling git", { isTTY: true, columns: 50, write: (text) => drawn.push(text) });
    bar.show(0, 4);
    bar.show(1, 4);
    bar.show(4, 4);
    bar.end();
    const shown = drawn.map((text) => text.replaceAll("\r\u001b[2K", ""));
    expect(shown.map((text) => text.length <= 50)).toEqual([true, true, true, true]);
    expect(shown[1]).toMatch(/^filling git {2}█+░+ {2}25 % {2}1$/);
    expect(shown.at(-1)).toBe("");
  });

  it("says nothing where there is no terminal", () => {
    const drawn: string[] = [];
    const bar = progress("filling git", { write: (text) => drawn.push(text) });
    bar.show(1, 2);
    bar.end();
    expect(drawn).toEqual([]);
  });

  // Mutation: a line each time a step is gone on with.
  it("is the name of each step there, once", () => {
    const drawn: string[] = [];
    const bars = steps({ write: (text) => drawn.push(text) });
    for (const step of ["filling git", "filling S3", "filling git", "reading"]) bars.show(step, 1, 2);
    bars.end();
    expect(drawn).toEqual(["filling git\n", "filling S3\n", "reading\n"]);
  });
});

describe("the data set", () => {
  // Mutation: a walk that stops at a description, which loses the 17,730 features that lie below another feature.
  it("has one key for each feature, most of them below another key", () => {
    const { all, source } = loadFeatures();
    const keys = new Set(all.map(([key]) => key));
    expect(source).toMatch(/^@mdn\/browser-compat-data \d/);
    expect([all.length, keys.size]).toEqual([20_968, 20_968]);
    expect(keys.has("api/AbortController/abort")).toBe(true);
    const below = [...keys].filter((key) => keys.has(key.slice(0, key.lastIndexOf("/"))));
    expect(below.length).toBe(17_730);
    expect(loadFeatures(5).all.length).toBe(5);
  });
});
