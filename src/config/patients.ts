import type { Patient } from "../doctor/patient.ts";
import type { Runtime } from "../runtime.ts";
import type { VersionClock } from "../version.ts";
import { planLayer } from "./layer-url.ts";
import type { ChainSpec } from "./open.ts";
import type { OpenContext, Scheme, Schemes } from "./schemes.ts";
import { schemesWith } from "./schemes.ts";
import type { OptionValue } from "./values.ts";
import { words } from "./words.ts";

export interface PatientOptions {
  readonly runtime: Runtime;
  readonly clock: VersionClock;
  /** The folder that relative paths are relative to. */
  readonly base: string;
  readonly schemes?: Schemes | undefined;
  /** Nothing is written, and nothing created: not even a folder. */
  readonly readonly: boolean;
  readonly report: OpenContext["report"];
}

/**
 * The stores of a chain, each to be examined by itself. Nothing is opened yet.
 * @throws SyncError INVALID for what is wrong with a URL.
 */
export function patientsOf(spec: ChainSpec, options: PatientOptions): Patient[] {
  const { schemes = schemesWith(), readonly } = options;
  const layers = typeof spec === "string" ? words(spec) : spec;
  return layers.map((part, index) => {
    const last = index === layers.length - 1;
    if (typeof part === "string") return fromUrl(part, schemes, last, options);
    const { store, options: layer = {} } = "store" in part ? part : { store: part };
    return {
      store: layer.name ?? store.name,
      role: layer.role ?? (last ? "store" : "cache"),
      readonly: readonly || layer.readonly === true,
      // A program gave it open; the configuration file is read once, so it is this run's to close.
      open: async () => ({ ...NOTHING_KNOWN, store }),
    };
  });
}

const NOTHING_KNOWN = { clock: undefined, requests: undefined, keepsHistory: false, undo: undefined };

function fromUrl(text: string, schemes: Schemes, last: boolean, options: PatientOptions): Patient {
  const { runtime, clock, base, report, readonly } = options;
  const plan = planLayer(text, schemes, last, (given, scheme) => harmless(given, scheme, readonly));
  return {
    store: plan.url.text,
    role: plan.role,
    readonly: readonly || plan.readonly,
    async open() {
      const opened = await plan.open({ runtime, clock, base, report });
      const { store, undo, requests, keepsHistory = false } = opened;
      return { store, undo, clock: opened.clock, requests, keepsHistory };
    },
  };
}

/** What keeps a look from doing more than look. */
function harmless(
  given: ReadonlyMap<string, OptionValue>,
  { options }: Scheme,
  readonly: boolean,
): Map<string, OptionValue> {
  const values = new Map<string, OptionValue>();
  if (readonly) {
    values.set("readonly", true);
    if ("create" in options) values.set("create", false);
  }
  // A cache in a cluster that others use too may tidy that cluster up: not for a look.
  if ("maintain" in options && given.get("role") === "cache") values.set("maintain", false);
  return values;
}
