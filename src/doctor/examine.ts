import type { ErrorCode } from "../error.ts";
import type { Runtime } from "../runtime.ts";
import type { CallOptions, Store } from "../store.ts";
import type { VersionClock } from "../version.ts";
import { bounded, settled } from "./bounded.ts";
import type { Bounds } from "./bounded.ts";
import { cleanup } from "./cleanup.ts";
import { advice, failureOf, resultOf } from "./finding.ts";
import type { Finding, Note, StepId, StoreReport } from "./finding.ts";
import { countText, msText, rounded } from "./measure.ts";
import type { OpenPatient, Patient } from "./patient.ts";
import { ownPrefix } from "./prefix.ts";
import { STEPS } from "./steps/all.ts";
import { touched } from "./touched.ts";
import { listed } from "./visit.ts";
import type { Said, Step, Visit } from "./visit.ts";

export interface ExamineOptions {
  readonly runtime: Runtime;
  /** Stamps what is written. */
  readonly versions: VersionClock;
  /** Nothing is written. Default false. */
  readonly readonly?: boolean | undefined;
  /** For each check, in milliseconds. Default 20,000; 90,000 where commits are made, which may have to wait their turn. */
  readonly timeoutMs?: number | undefined;
  /** For all checks of one store; those left then are skipped. Cleaning up comes on top. Default 6 times `timeoutMs`. */
  readonly totalMs?: number | undefined;
  /** Ends the checks; what was written is removed all the same. */
  readonly signal?: AbortSignal | undefined;
  /** Called when a check begins. */
  readonly onStep?: ((step: StepId) => void) | undefined;
  /** Called with each finding as it is made, and waited for. */
  readonly onFinding?: ((finding: Finding) => void | Promise<void>) | undefined;
}

const TIMEOUT_MS = 20_000;
/** A budget of so many pushes a minute lets the next one wait for a minute. */
const TIMEOUT_MS_HISTORY = 90_000;
const TOTAL_TIMEOUTS = 6;
/** How long what was interrupted may still go on before what it wrote is removed, in milliseconds. */
const SETTLE_MS = 5_000;
/** After so many checks in a row without an answer the others are not tried. */
const SILENT_MAX = 2;
const SILENT: ReadonlySet<ErrorCode | null> = new Set(["TIMEOUT", "UNAVAILABLE"]);
const REFUSED: ReadonlySet<ErrorCode | null> = new Set(["UNAUTHORISED", "READONLY"]);

/**
 * Opens a store, tries all that it says it can, below a prefix of its own, and removes that again. What goes wrong is
 * in the report, not thrown. After `signal` the report ends where it was.
 */
export async function examine(patient: Patient, options: ExamineOptions): Promise<StoreReport> {
  const examination = new Examination(patient, options);
  return examination.run();
}

class Examination {
  private readonly patient: Patient;
  private readonly options: ExamineOptions;
  private readonly findings: Finding[] = [];
  private readonly opened: OpenPatient[] = [];
  private readonly written = touched();
  private readonly prefix: string;
  private readonly begun: number;
  private left: readonly string[] = [];
  private running: Promise<unknown> = Promise.resolve();
  private answers = false;
  private silent = 0;
  private refused = false;

  constructor(patient: Patient, options: ExamineOptions) {
    const { runtime } = options;
    this.patient = patient;
    this.options = options;
    this.prefix = ownPrefix(runtime);
    this.begun = runtime.monotonic();
  }

  async run(): Promise<StoreReport> {
    try {
      await this.check("connect", () => this.connect());
      const [first] = this.opened;
      if (first !== undefined && this.answers) for (const step of STEPS) await this.make(step, first);
    } finally {
      await this.end();
    }
    const [first] = this.opened;
    const { store, role } = this.patient;
    const counted = this.opened.flatMap(({ requests }) => requests?.() ?? []);
    return {
      store,
      role,
      readonly: this.isReadonly,
      supports: first?.store.supports ?? null,
      findings: this.findings,
      requests: counted.length === 0 ? null : counted.reduce((sum, count) => sum + count, 0),
      left: this.left,
    };
  }

  private get usualMs(): number {
    return this.opened.some(({ keepsHistory }) => keepsHistory) ? TIMEOUT_MS_HISTORY : TIMEOUT_MS;
  }

  private get bounds(): Bounds {
    const { runtime, signal, timeoutMs = this.usualMs } = this.options;
    return { runtime, signal, timeoutMs, store: this.patient.store };
  }

  /** Of cleaning up: not less than usual, and whatever the caller says by now. */
  private get lastBounds(): Bounds {
    const { bounds } = this;
    return { ...bounds, timeoutMs: Math.max(bounds.timeoutMs, this.usualMs), signal: undefined };
  }

  private get isReadonly(): boolean {
    const [first] = this.opened;
    const { readonly = false } = this.options;
    return readonly || this.patient.readonly || this.refused || first?.store.supports.readonly === true;
  }

  private async connect(): Promise<Said> {
    const { runtime } = this.options;
    const begun = runtime.monotonic();
    const first = await this.open();
    // Some stores are open before anything was sent.
    await bounded(this.bounds, (call) => first.store.read([`${this.prefix}none`], { ...call, authority: true }));
    this.answers = true;
    const openMs = runtime.monotonic() - begun;
    const figures = { openMs: rounded(openMs) };
    const { name, supports } = first.store;
    const once = `${name} opened in ${msText(openMs)}`;
    if (!supports.shared || this.isReadonly) return { what: once, figures };
    const ending = first.keepsHistory ? "; some ten commits will stay in its history" : "";
    // The writes of one store may be put in order by that store: only two show what the system does.
    try {
      const second = await this.open();
      const twice = second.store === first.store ? once : `${once}, and a second time`;
      return { what: twice + ending, figures };
    } catch (error) {
      const { what: why, cure } = failureOf(error);
      return { what: once + ending, figures, notes: [advice(`a second connection failed: ${why}`, cure)] };
    }
  }

  /** Opens the store; when that ends too late, it is closed again. */
  private async open(): Promise<OpenPatient> {
    let late = false;
    const opening = this.patient.open();
    const taken = bounded(this.bounds, () => opening);
    opening.then((open) => (late ? this.close(open) : undefined)).catch(() => undefined); // that it does not open is told by `taken`, and one that nobody uses has nobody to tell
    try {
      const open = await taken;
      if (!this.opened.some(({ store }) => store === open.store)) this.opened.push(open);
      return open;
    } catch (error) {
      late = true;
      throw error;
    }
  }

  private async make(step: Step, patient: OpenPatient): Promise<void> {
    if (this.options.signal?.aborted === true) return;
    const why = this.reasonToSkip(step);
    if (why !== undefined) return this.tell(step.id, { what: why, skipped: true }, 0);
    await this.check(step.id, () =>
      bounded(this.bounds, (call) => {
        const work = step.run(this.visit(patient, call));
        this.running = work;
        return work;
      }),
    );
  }

  private reasonToSkip(step: Step): string | undefined {
    const { runtime, readonly = false, totalMs = this.bounds.timeoutMs * TOTAL_TIMEOUTS } = this.options;
    if (this.silent >= SILENT_MAX) return "the store did not answer before";
    if (runtime.monotonic() - this.begun >= totalMs) return "there was no time left";
    if (!step.writes || !this.isReadonly) return undefined;
    if (this.refused) return "writes were refused";
    return readonly ? "nothing may be written" : "the store takes no writes";
  }

  private visit(patient: OpenPatient, call: CallOptions): Visit {
    const { runtime, versions } = this.options;
    const [, ...others] = this.opened.map(({ store }) => store);
    return {
      runtime,
      versions,
      clients: [patient.store, ...others] satisfies [Store, ...Store[]],
      patient,
      supports: patient.store.supports,
      prefix: this.prefix,
      touched: this.written,
      call,
      readonly: this.isReadonly,
    };
  }

  /** Makes a check and tells what it found; what it throws is a finding too. */
  private async check(step: StepId, work: () => Promise<Said>): Promise<void> {
    const { runtime, signal, onStep } = this.options;
    onStep?.(step);
    const begun = runtime.monotonic();
    let said: Said;
    try {
      said = await work();
      this.silent = 0;
    } catch (error) {
      if (signal?.aborted === true) return;
      const { what, ...rest } = failureOf(error);
      const note = { ...rest, what: what.replace(`${this.patient.store}: `, "") }; // whose it is, is told already
      said = { what: note.what, notes: [note] };
      this.silent = SILENT.has(note.code) ? this.silent + 1 : 0;
      if (REFUSED.has(note.code) && step === "values") this.refused = true;
    }
    await this.tell(step, said, runtime.monotonic() - begun);
  }

  private async tell(step: StepId, { what, notes = [], figures = {}, skipped = false }: Said, tookMs: number) {
    const result = skipped ? "skipped" : resultOf(notes);
    const finding: Finding = { step, result, what, notes, figures, tookMs: rounded(tookMs) };
    this.findings.push(finding);
    await this.options.onFinding?.(finding);
  }

  /** Removes what was written, whatever happened, and closes. It has a time of its own and heeds no signal. */
  private async end(): Promise<void> {
    const [patient] = this.opened;
    if (patient === undefined) return;
    const { runtime, onStep } = this.options;
    const bounds = this.lastBounds;
    const begun = runtime.monotonic();
    const said = this.written.calls === 0 ? undefined : await this.clean(patient, () => onStep?.("cleanup"));
    this.left = said?.left ?? [];
    const isEmpty = this.opened.some(({ undo }) => undo !== undefined) && (await this.isEmpty(patient, bounds));
    const trouble: Note[] = [];
    for (const open of this.opened.toReversed()) {
      try {
        await bounded(bounds, () => this.close(open));
        if (isEmpty) await bounded(bounds, async () => open.undo?.());
      } catch (error) {
        trouble.push(failureOf(error));
      }
    }
    // Told at last: whoever listens may throw, and all is closed by now.
    if (said === undefined && trouble.length === 0) return;
    const { what, notes = [], figures } = said ?? { what: "the store was not closed" };
    await this.tell("cleanup", { what, notes: [...notes, ...trouble], figures }, runtime.monotonic() - begun);
  }

  private async clean(patient: OpenPatient, begin: () => void): ReturnType<typeof cleanup> {
    begin();
    await settled(this.options.runtime, this.running, SETTLE_MS);
    try {
      return await bounded(this.lastBounds, (call) => cleanup(this.visit(patient, call)));
    } catch (error) {
      const left = this.written.keys;
      const what = `${countText(left.length, "key")} perhaps left below ${this.prefix}`;
      const cure = `remove what is below ${this.prefix} when the store answers`;
      return { what, notes: [failureOf(error), { kind: "failed", what, cure, code: null }], left };
    }
  }

  /** Whether nothing is in it, so that what opening created may go. */
  private async isEmpty({ store }: OpenPatient, bounds: Bounds): Promise<boolean> {
    try {
      const found = await bounded(bounds, (call) => listed({ clients: [store], call }, "", 1));
      return found.length === 0;
    } catch {
      return false; // what is not known to be empty stays
    }
  }

  private close(open: OpenPatient): Promise<void> {
    return open.store.close();
  }
}
