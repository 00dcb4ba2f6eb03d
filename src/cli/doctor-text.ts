import type { Finding, Note, Result, StepId, StoreReport } from "../doctor/finding.ts";
import type { Patient } from "../doctor/patient.ts";
import type { Io } from "./io.ts";
import { countText, progress } from "./progress.ts";
import type { Progress } from "./progress.ts";

/** The doctor's words: a table on a terminal, else lines that say all, each by itself. Nothing with `--json`. */
export interface DoctorPrinter {
  begin(patient: Patient): Promise<void>;
  step(patient: Patient, step: StepId): void;
  finding(patient: Patient, finding: Finding): Promise<void>;
  end(report: StoreReport): Promise<void>;
  sum(advice: readonly Note[], results: readonly Result[]): Promise<void>;
  warn(text: string): Promise<void>;
}

const STEP_WIDTH = 10;
const RESULT_WIDTH = 7;

export function printer(io: Io, json: boolean): DoctorPrinter {
  const { stdout, stderr } = io;
  let shown: Progress | undefined;
  const line = async (text: string) => {
    await shown?.clear();
    if (!json) await stdout.write(`${text}\n`);
  };
  const row = (step: string, result: string, what: string) =>
    line(`${step.padEnd(STEP_WIDTH)}  ${result.padEnd(RESULT_WIDTH)}  ${what}`);
  return {
    async begin({ store, role }) {
      if (!stdout.isTTY) return;
      await line(`${store} as a ${role}`);
      await row("check", "result", "found");
    },
    step({ store }, step) {
      // A line of its own for each check, so that the one that takes long is always the one that is shown.
      shown = progress(io);
      shown.tell(() => `${store} ${step} …`);
    },
    async finding({ store }, { step, result, what, notes }) {
      // A check that ended with an error has nothing else to say than that.
      const whole = notes.find((note) => note.what === what);
      const told = notes.filter((note) => note !== whole);
      const first = whole === undefined ? what : inWords(whole);
      if (!stdout.isTTY) {
        await line(`${store} ${step} ${result}: ${first}`);
        for (const note of told) await line(`${store} ${step} ${note.kind}: ${inWords(note)}`);
        return;
      }
      await row(step, result, first);
      for (const note of told) await row("", "", `- ${inWords(note)}`);
    },
    async end({ store, requests }) {
      if (requests === null) return;
      const text = countText(requests, "request");
      await (stdout.isTTY ? row("requests", "", text) : line(`${store} requests: ${requests}`));
    },
    async sum(advice, results) {
      for (const note of advice) await line(`chain ${note.kind}: ${inWords(note)}`);
      const count = (result: Result) => results.filter((each) => each === result).length;
      const [bad, hints] = [count("failed"), count("advice")];
      await line(bad > 0 ? `${countText(bad, "check")} failed` : hints > 0 ? "works, with advice" : "all fine");
    },
    async warn(text) {
      await shown?.clear();
      await stderr.write(`microsync: warning: ${text.replaceAll("\n", " ")}\n`);
    },
  };
}

function inWords({ what, cure }: Note): string {
  return cure === null ? what : `${what} (${cure})`;
}
