import { examine } from "../../src/doctor/examine.ts";
import type { ExamineOptions } from "../../src/doctor/examine.ts";
import type { SystemClock } from "../../src/doctor/clock.ts";
import type { Finding, StoreReport } from "../../src/doctor/finding.ts";
import type { OpenPatient } from "../../src/doctor/patient.ts";
import type { Store, Supports } from "../../src/store.ts";
import { ReferenceStore, referenceState, simulatedRuntime } from "../../src/testing/index.ts";
import type { ReferenceOptions, ReferenceState, SimulatedRuntime } from "../../src/testing/index.ts";
import { versionClock } from "../../src/version.ts";

const drain = () => new Promise<void>((resolve) => setImmediate(resolve));

export interface Case {
  readonly store?: new (options: ReferenceOptions) => ReferenceStore;
  readonly supports?: Partial<Supports>;
  readonly state?: ReferenceState;
  /** Of the system, by this much ahead of the machine's. */
  readonly aheadMs?: number;
  readonly patient?: Partial<OpenPatient>;
  readonly open?: (store: Store) => Promise<Store>;
  readonly options?: Partial<ExamineOptions>;
  readonly runtime?: SimulatedRuntime;
}

export interface Examined {
  readonly report: StoreReport;
  readonly state: ReferenceState;
  readonly runtime: SimulatedRuntime;
}

/** Examines a reference store, or one with a fault, in simulated time. */
export async function examined(given: Case = {}): Promise<Examined> {
  const { store: Made = ReferenceStore, supports, state = referenceState(), aheadMs, options, patient } = given;
  const runtime = given.runtime ?? simulatedRuntime({ seed: 1, drain });
  const versions = await versionClock({ runtime });
  const clock: SystemClock | undefined =
    aheadMs === undefined ? undefined : { resolutionMs: 1, ask: async () => runtime.now() + aheadMs };
  const done = examine(
    {
      store: "reference:",
      role: "store",
      readonly: false,
      async open() {
        const made = new Made({ runtime, state, supports: { batchMax: 1_000, ...supports } });
        const store = given.open === undefined ? made : await given.open(made);
        return { store, clock, requests: undefined, keepsHistory: false, undo: undefined, ...patient };
      },
    },
    { runtime, versions, timeoutMs: 2_000, ...options },
  );
  const progress = { over: false };
  const end = () => {
    progress.over = true;
  };
  done.then(end, end);
  while (!progress.over) {
    await runtime.run();
    await drain();
  }
  return { report: await done, state, runtime };
}

export function findingOf({ findings }: StoreReport, step: string): Finding | undefined {
  return findings.find((finding) => finding.step === step);
}

export function stepsWith({ findings }: StoreReport, result: Finding["result"]): string[] {
  return findings.filter((finding) => finding.result === result).map(({ step }) => step);
}

/** All that a report says. */
export function words({ findings }: StoreReport): string {
  return findings.flatMap(({ what, notes }) => [what, ...notes.map((note) => `${note.what} ${note.cure}`)]).join("\n");
}
