import { describe, expect, it } from "vitest";
import { Company } from "../../src/journal/company.ts";

/** So many writers, each of which writes again as soon as it was answered, on a disk and a processor of some speed. */
function played(writers: number, diskMs: number, recordMs: number, groups: number) {
  const company = new Company();
  const sizes: number[] = [];
  let [now, waiting] = [0, writers];
  for (let i = 0; i < groups; i++) {
    // What waits has been encoded; whoever is missing comes in the turn in which the group gathers.
    const count = Math.min(waiting, company.enough);
    company.begins(count, now);
    sizes.push(count);
    // While the disk writes, those that were left out are still there.
    waiting -= count;
    now += diskMs;
    company.ends(count, waiting, now);
    const joining = Math.max(0, Math.min(count, company.enough - waiting));
    waiting += count;
    now += recordMs * joining;
  }
  return { sizes, company };
}

describe("the company of a group", () => {
  // Mutation: enough is always half.
  it("is everybody where the disk is what takes time", () => {
    expect(new Set(played(128, 10, 0.01, 300).sizes)).toEqual(new Set([128]));
  });

  // Mutation: enough is always Infinity.
  it("is half of them where the processor needs longer for all than the disk, and now and then everybody again", () => {
    const { sizes } = played(128, 0.5, 0.01, 300);
    expect(sizes.slice(0, 2)).toEqual([128, 128]);
    expect(sizes.filter((count) => count === 64).length).toBeGreaterThan(280);
    expect(sizes.slice(10).some((count) => count > 64)).toBe(true);
  });

  // Mutation: the average takes each sample whole.
  it("is not changed by a disk that was busy once", () => {
    const { company } = played(128, 0.5, 0.01, 20);
    expect(company.enough).toBe(64);
    company.begins(64, 1000);
    company.ends(64, 64, 3000);
    expect(company.enough).toBe(64);
  });

  // Mutation: a pause counts as the processor's time.
  it("is everybody however long nobody wrote before", () => {
    const { company } = played(128, 10, 0.01, 20);
    let now = 1000;
    for (let i = 0; i < 40; i++) {
      company.pauses();
      company.begins(1, (now += 60_000));
      company.ends(1, 0, (now += 10));
    }
    company.begins(128, now);
    company.ends(128, 0, now + 10);
    expect(company.enough).toBe(Infinity);
  });

  // Mutation: the time of the disk is measured once.
  it("goes back to everybody when the disk becomes slow", () => {
    const { company } = played(128, 0.5, 0.01, 20);
    let now = 1000;
    for (let i = 0; i < 40; i++) {
      company.begins(64, now);
      company.ends(64, 64, (now += 20));
    }
    expect(company.enough).toBe(Infinity);
  });
});
