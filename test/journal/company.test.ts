import { describe, expect, it } from "vitest";
import { Company } from "../../src/journal/company.ts";

/**
 * So many writers, each of which writes again as soon as it was answered, on a disk and a processor of some speed. Of
 * the end of a sync the processor hears when it is done with those that the one before woke.
 *
 * @returns the sizes of the groups, and how many records were written in a millisecond at the end.
 */
function played(writers: number, diskMs: number, recordMs: number, groups: number, company = new Company()) {
  const sizes: number[] = [];
  const ends: number[] = [];
  let [now, waiting, idleAt] = [1, writers, 0];
  for (let i = 0; i < groups; i++) {
    // Everybody: those that were woken last come before it is written.
    if (company.enough === Infinity) now = Math.max(now, idleAt);
    const count = Math.min(waiting, company.enough);
    company.begins(now);
    sizes.push(count);
    waiting -= count;
    now = Math.max(now + diskMs, idleAt);
    ends.push(now);
    company.ends(count, waiting, now);
    waiting += count;
    idleAt = now + recordMs * count;
    company.joined(count, count, idleAt);
  }
  const last = sizes.slice(-100);
  const perMs = last.reduce((sum, size) => sum + size, 0) / (now - (ends.at(-101) ?? 0));
  return { sizes, company, perMs };
}

describe("the company of a group", () => {
  // Mutation: there are always two parts.
  it("is everybody where the disk is what takes time", () => {
    expect(new Set(played(128, 10, 0.01, 300).sizes)).toEqual(new Set([128]));
  });

  // Mutations: it is always everybody; there are never more than two parts; the parts only grow.
  it.each([
    [128, 1],
    [128, 0.5],
    [128, 0.3],
    [1024, 0.6],
  ])("of %i writers is what the processor is done with when a disk of %f ms is", (writers, diskMs) => {
    const recordMs = 0.01;
    const { sizes, perMs } = played(writers, diskMs, recordMs, 400);
    const best = Math.min(writers / (2 * diskMs), 1 / recordMs); // in two parts, or what the processor can do
    expect(perMs).toBeGreaterThan(0.75 * best);
    const [size = 0] = sizes.slice(-1);
    expect(size * recordMs).toBeGreaterThan(0.6 * diskMs);
    expect(size * recordMs).toBeLessThan(1.3 * diskMs); // the disk has nothing to do for less than a quarter of the time
  });

  // Mutation: it never begins anew.
  it("is everybody again now and then, to see whether fewer parts are enough", () => {
    const { sizes } = played(128, 0.5, 0.01, 1200);
    expect(sizes.slice(400).some((size) => size === 128)).toBe(true);
  });

  // Mutation: a group of which nobody wrote again counts.
  it("is everybody however long nobody wrote before", () => {
    const company = new Company();
    let now = 1000;
    for (let i = 0; i < 40; i++) {
      company.begins((now += 60_000));
      company.ends(64, 0, (now += 10));
      company.joined(64, i % 32, (now += 60_000));
    }
    expect(company.enough).toBe(Infinity);
  });

  // Mutation: the parts never become fewer.
  it("goes back to everybody when the disk becomes slow", () => {
    const { company, sizes } = played(128, 0.3, 0.01, 200);
    expect(sizes.at(-1)).toBeLessThan(64);
    expect(played(128, 20, 0.01, 100, company).sizes.at(-1)).toBe(128);
  });
});
