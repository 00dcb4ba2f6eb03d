/** What tests of stores, chains and programs on Sync need; `microsync/testing`. */
export { ConformanceError } from "./assert.ts";
export { CHECKS, conformance } from "./conformance.ts";
export type { ConformanceOptions, Runner, TestContext } from "./conformance.ts";
export type { Check, Context, Opened, Settings } from "./conformance/context.ts";
export { LONG_KEYS, WEIRD_KEYS } from "./conformance/keys.ts";
export { random } from "./random.ts";
export type { Random } from "./random.ts";
export { ReferenceStore, referenceState, referenceStore } from "./reference.ts";
export type { ReferenceOptions, ReferenceState } from "./reference.ts";
export { ioError, simulatedFiles } from "./files.ts";
export type { SimulatedFiles, SimulatedFilesOptions } from "./files.ts";
export { simulatedRuntime } from "./runtime.ts";
export type { SimulatedRuntime, SimulationOptions } from "./runtime.ts";
export { chaos } from "./chaos.ts";
export type { ChaosEvent, ChaosOptions, ChaosRates, ChaosStore, Failure, FailurePoint, Verb } from "./chaos.ts";
