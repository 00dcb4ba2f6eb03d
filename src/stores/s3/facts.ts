import type { Runtime } from "../../runtime.ts";
import { FACT_MS } from "./form.ts";
import type { Found } from "./object.ts";

interface Fact {
  readonly found: Found;
  /** On `Runtime.monotonic()`: when the question was sent. */
  readonly at: number;
}

/**
 * What was last seen of objects, the most recent ones. It saves two kinds of requests: a write may be conditional on
 * what was seen (the server still decides), and a list needs to ask about objects only whose tag is new.
 */
export class Facts {
  private readonly runtime: Runtime;
  private readonly max: number;
  private readonly all = new Map<string, Fact>();

  constructor(runtime: Runtime, max: number) {
    this.runtime = runtime;
    this.max = max;
  }

  /** @param at When the question was sent that this answers, on `Runtime.monotonic()`. */
  set(name: string, found: Found | undefined, at: number): void {
    const held = this.all.get(name);
    if (held !== undefined && held.at > at) return; // a slower answer to an earlier question
    this.all.delete(name);
    if (found === undefined) return;
    this.all.set(name, { found, at });
    if (this.all.size > this.max) {
      const [oldest] = this.all.keys();
      if (oldest !== undefined) this.all.delete(oldest);
    }
  }

  drop(name: string): void {
    this.all.delete(name);
  }

  /** What a write may take for true, on condition. */
  recent(name: string): Found | undefined {
    const fact = this.all.get(name);
    return fact !== undefined && this.runtime.monotonic() - fact.at < FACT_MS ? fact.found : undefined;
  }

  /**
   * What is known of the object that a list shows with this ETag and date. The ETag alone is enough as long as it cannot
   * have come again.
   */
  matching(name: string, etag: string, seconds: number): Found | undefined {
    const fact = this.all.get(name);
    if (fact === undefined || fact.found.etag !== etag) return undefined;
    if (fact.found.seconds === seconds) return fact.found;
    if (fact.found.seconds !== undefined || this.runtime.monotonic() - fact.at >= FACT_MS) return undefined;
    const found = { ...fact.found, seconds };
    this.all.set(name, { found, at: fact.at });
    return found;
  }
}
