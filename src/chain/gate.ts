import type { Borrower } from "../runtime.ts";

/**
 * Where the time stands for a hit in memory: a slot whose deadline lies behind it answers, and nothing else is looked
 * at. While a copy may be suspect for more than its age the gate is shut, and each slot is judged by itself.
 */
export class Gate implements Borrower {
  /** Milliseconds since a moment of the chain's, 0 at least; Infinity while it is shut. */
  at = Number.POSITIVE_INFINITY;
  /** For how many more slots that holds. Whoever looks takes one off. */
  left = 0;
  private allowed = 0;
  private counted = 0;

  allow(uses: number): void {
    this.counted = this.passed;
    this.allowed = this.left = uses;
  }

  /** At once; it opens again with a later reading of the clock, when nothing is in the way. */
  shut(): void {
    this.at = Number.POSITIVE_INFINITY;
  }

  /** How many looked since the beginning: the count that a hit need not keep. */
  get passed(): number {
    return this.counted + this.allowed - this.left;
  }
}
