import { describe, expect, it } from "vitest";
import { Company } from "../../src/journal/company.ts";

function begun() {
  const time = { now: 1, idle: 0 };
  return { time, company: new Company({ monotonic: () => time.now, idle: () => time.idle }) };
}

/**
 * So many writers, each of which writes again as soon as it was answered, on a disk and a processor of some speed: one
 * group at a time makes each wait for the other, several in turn keep the slower one of them busy.
 *
 * @returns the sizes of the groups.
 */
function played(writers: number, diskMs: number, recordMs: number, groups: number, from = begun()) {
  const sizes: number[] = [];
  const { company, time } = from;
  while (sizes.length < groups) {
    const size = Math.min(writers, company.size);
    const workMs = size * recordMs;
    const isAlone = size === writers;
    time.now += isAlone ? diskMs + workMs : Math.max(diskMs, workMs);
    time.idle += isAlone ? diskMs : Math.max(0, diskMs - workMs);
    company.ends(size, writers - size);
    sizes.push(size);
  }
  return { sizes, company, time };
}

/** The sizes that at least a tenth of the later groups have. */
function usual({ sizes }: { readonly sizes: readonly number[] }): readonly number[] {
  const late = sizes.slice(sizes.length / 2);
  return [...new Set(late)].filter((size) => late.filter((other) => other === size).length > late.length / 10);
}

describe("the company of a group", () => {
  // Mutation: there are always two parts.
  it("is everybody where the disk is what takes time", () => {
    expect(new Set(played(128, 10, 0.01, 300).sizes)).toEqual(new Set([128]));
    expect(new Set(played(128, 1.4, 0.01, 300).sizes)).toEqual(new Set([128]));
  });

  // Mutations: it is always everybody; there are never more than two parts; the parts only grow.
  it.each([
    [128, 1],
    [128, 0.5],
    [128, 0.3],
    [1024, 0.6],
  ])("of %i writers is what the processor is done with when a disk of %f ms is", (writers, diskMs) => {
    const recordMs = 0.01;
    for (const size of usual(played(writers, diskMs, recordMs, 4000))) {
      expect(size * recordMs).toBeGreaterThan(0.5 * diskMs);
      expect(size * recordMs).toBeLessThan(1.4 * diskMs);
    }
  });

  // Mutation: the parts never become fewer.
  it("goes back to everybody when the disk becomes slow", () => {
    const first = played(128, 0.3, 0.01, 400);
    expect(first.sizes.at(-1)).toBeLessThan(64);
    expect(played(128, 20, 0.01, 400, first).sizes.at(-1)).toBe(128);
  });

  // Mutation: what nobody can tell counts as no time.
  it("is everybody where nobody can tell how long the processor had nothing to do", () => {
    const { company, time } = begun();
    time.idle = Number.NaN;
    for (; time.now < 400; time.now++) company.ends(128, 0);
    expect(company.size).toBe(Infinity);
  });
});
