import { SyncError } from "../error.ts";
import type { Answer } from "../store.ts";
import { VERSION_LAST, VERSION_ZERO } from "../version.ts";
import type { Version } from "../version.ts";

/** One walk of one key, and what its readers wait for. */
export class Flight {
  readonly key: string;
  /** Asks for what a plain `cached` read asks for. Others may fail, or wait, where a cached reader would be answered. */
  readonly shared: boolean;
  /** The highest version of the key that became known since the walk began. */
  overtakenBy: Version = VERSION_ZERO;
  /** What the walk came to; undefined while it is under way. */
  outcome: Answer | SyncError | undefined = undefined;
  /** The walk of the key that began before this one, while both are under way. */
  earlier: Flight | undefined = undefined;
  private promise: Promise<Answer> | undefined = undefined;
  private resolve: (answer: Answer) => void = nothing;
  private reject: (error: SyncError) => void = nothing;

  constructor(key: string, shared: boolean) {
    this.key = key;
    this.shared = shared;
  }

  /** The key was written or changed since the walk began: nobody joins it, and that it found nothing is not remembered. */
  get overtaken(): boolean {
    return this.overtakenBy !== VERSION_ZERO;
  }

  /** Whether something newer became known since the walk began: it fills nothing with this. */
  isLateWith(version: Version): boolean {
    return version < this.overtakenBy;
  }

  /** One promise for all who ask. The walk of a batch, whose outcome is looked at when it is over, has none. */
  get answer(): Promise<Answer> {
    if (this.promise !== undefined) return this.promise;
    this.promise = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
    this.tell();
    return this.promise;
  }

  end(outcome: Answer | SyncError): void {
    this.outcome = outcome;
    this.tell();
  }

  private tell(): void {
    if (this.outcome instanceof SyncError) this.reject(this.outcome);
    else if (this.outcome !== undefined) this.resolve(this.outcome);
  }
}

function nothing(): void {}

/** The walks under way, so that readers of a key share one and a write can tell all of them that they are late. */
export interface Flights {
  /** A walk of the key that a cached reader who comes now may share. */
  joinable(key: string): Flight | undefined;
  /** Whether any walk of the key is under way that nothing has overtaken. */
  isUnderWay(key: string): boolean;
  begin(key: string, shared: boolean): Flight;
  end(flight: Flight): void;
  /** @param by the version that became known; without one, whatever the walks find is late. */
  overtake(key: string, by?: Version): void;
  overtakeAll(): void;
}

export function flights(): Flights {
  /** The latest of each key, which leads to those before it. */
  const underWay = new Map<string, Flight>();

  const overtakeFrom = (latest: Flight | undefined, by: Version) => {
    for (let flight = latest; flight !== undefined; flight = flight.earlier) {
      if (by > flight.overtakenBy) flight.overtakenBy = by;
    }
  };

  return {
    joinable(key) {
      let flight = underWay.get(key);
      while (flight !== undefined && (!flight.shared || flight.overtaken)) flight = flight.earlier;
      return flight;
    },
    isUnderWay(key) {
      let flight = underWay.get(key);
      while (flight?.overtaken === true) flight = flight.earlier;
      return flight !== undefined;
    },
    begin(key, shared) {
      const flight = new Flight(key, shared);
      flight.earlier = underWay.get(key);
      underWay.set(key, flight);
      return flight;
    },
    end(flight) {
      const { key, earlier } = flight;
      let later = underWay.get(key);
      if (later !== flight) {
        while (later !== undefined && later.earlier !== flight) later = later.earlier;
        if (later !== undefined) later.earlier = earlier;
      } else if (earlier === undefined) underWay.delete(key);
      else underWay.set(key, earlier);
    },
    overtake(key, by = VERSION_LAST) {
      if (underWay.size > 0) overtakeFrom(underWay.get(key), by);
    },
    overtakeAll() {
      for (const latest of underWay.values()) overtakeFrom(latest, VERSION_LAST);
    },
  };
}
