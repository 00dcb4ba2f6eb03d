import type { SimulatedRuntime } from "../../src/testing/runtime.ts";

export type Outcome<T> =
  | { readonly kind: "done"; readonly value: T }
  | { readonly kind: "failed"; readonly error: unknown }
  | { readonly kind: "late" };

/** Lets time pass, some of it at a time, until the work has ended; for at most so long. */
export async function outcomeWithin<T>(
  runtime: SimulatedRuntime,
  work: Promise<T>,
  ms: number,
  stepMs: number,
): Promise<Outcome<T>> {
  const outcome: { now: Outcome<T> } = { now: { kind: "late" } };
  work.then(
    (value) => {
      outcome.now = { kind: "done", value };
    },
    (error: unknown) => {
      outcome.now = { kind: "failed", error };
    },
  );
  for (let passed = 0; passed < ms && outcome.now.kind === "late"; passed += stepMs) await runtime.advance(stepMs);
  return outcome.now;
}
