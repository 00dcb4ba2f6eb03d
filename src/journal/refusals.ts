import type { Records, SegmentInfo } from "./log.ts";
import { readDecision } from "./notes.ts";

/**
 * The decisions that a record is nobody's value. Each has to stay for as long as the record that it speaks of: alone,
 * that would be taken for something that happened.
 */
export class Refusals {
  /** The number of the record that is nobody's, by the number of the decision. */
  private readonly refused = new Map<number, number>();

  add(decision: number, record: number): void {
    this.refused.set(decision, record);
  }

  /** Takes in those of a log. */
  learn(records: Records): void {
    for (const index of records.conditional) {
      const record = records.at(index);
      if (record.kind !== "decision") continue;
      const { intent, happened } = readDecision(record.note);
      if (!happened) this.add(record.seq, intent);
    }
  }

  /** The numbers of the decisions that are still needed, given the segments that there are. */
  *needed(segments: readonly SegmentInfo[]): Iterable<number> {
    for (const [decision, record] of this.refused) {
      if (segments.some(({ first, last }) => first <= record && record <= last)) yield decision;
      else this.refused.delete(decision);
    }
  }
}
