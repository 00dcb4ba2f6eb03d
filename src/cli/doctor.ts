import { chainAdvice } from "../doctor/chain-advice.ts";
import { examine } from "../doctor/examine.ts";
import { worst } from "../doctor/finding.ts";
import type { StoreReport } from "../doctor/finding.ts";
import { versionClock } from "../version.ts";
import { printer } from "./doctor-text.ts";
import { EXIT, EXIT_FAILED, EXIT_OK } from "./exit.ts";
import { jsonLine } from "./lines.ts";
import type { Session } from "./session.ts";

/** Examines each store by itself, then their order. */
export async function run(
  { io, json, global, call }: Session,
  urls: readonly string[],
  { readOnly = false }: { readonly readOnly?: boolean },
): Promise<number> {
  const { runtime, signal } = io;
  // Imported here, so that help answers at once.
  const { chooseChain, patientsOf } = await import("./examining.ts");
  const chosen =
    urls.length > 0
      ? { spec: urls, base: io.folder }
      : await chooseChain({ flag: global.chain, configFile: global.config, env: io.env, folder: io.folder });
  const clock = await versionClock({ runtime });
  const print = printer(io, json);
  const patients = patientsOf(chosen.spec, {
    runtime,
    clock,
    base: chosen.base,
    readonly: readOnly,
    report: ({ layer, message }) => void print.warn(`${layer}: ${message}`),
  });
  const reports: StoreReport[] = [];
  for (const patient of patients) {
    if (signal.aborted) break;
    await print.begin(patient);
    const report = await examine(patient, {
      runtime,
      versions: clock,
      readonly: readOnly,
      timeoutMs: call.timeoutMs,
      signal,
      onStep: (step) => print.step(patient, step),
      onFinding: (finding) => print.finding(patient, finding),
    });
    reports.push(report);
    await print.end(report);
  }
  const advice = signal.aborted ? [] : chainAdvice(reports);
  const results = [...reports.flatMap(({ findings }) => findings), ...advice.map(({ kind }) => ({ result: kind }))];
  const result = worst(results.map((each) => each.result));
  if (json) {
    const stores = reports.map((report) => ({ ...report, result: worst(report.findings.map((each) => each.result)) }));
    await io.stdout.write(jsonLine({ result, interrupted: signal.aborted, stores, advice }));
  } else {
    await print.sum(
      advice,
      results.map((each) => each.result),
    );
  }
  if (signal.aborted) return EXIT.ABORTED;
  return result === "failed" ? EXIT_FAILED : EXIT_OK;
}
