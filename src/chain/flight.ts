import type { Answer } from "../store.ts";

/** One walk of one key under way, and the promise its readers wait for. */
export interface Flight {
  readonly key: string;
  readonly answer: Promise<Answer>;
  resolve(answer: Answer): void;
  reject(error: unknown): void;
  /** Asks for what a plain `cached` read asks for. Others may fail, or wait, where a cached reader would be answered. */
  readonly shared: boolean;
  /** The key was written or changed since the walk began: nobody joins it and it fills nothing. */
  overtaken: boolean;
}

/** The walks under way, so that readers of a key share one and a write can tell all of them that they are late. */
export interface Flights {
  /** A walk of the key that a cached reader who comes now may share. */
  joinable(key: string): Flight | undefined;
  /** Whether any walk of the key is under way that nothing has overtaken. */
  isUnderWay(key: string): boolean;
  begin(key: string, shared: boolean): Flight;
  end(flight: Flight): void;
  overtake(key: string): void;
  overtakeAll(): void;
}

export function flights(): Flights {
  const underWay = new Map<string, Flight[]>();
  return {
    joinable(key) {
      return underWay.get(key)?.findLast(({ shared, overtaken }) => shared && !overtaken);
    },
    isUnderWay: (key) => underWay.get(key)?.some(({ overtaken }) => !overtaken) === true,
    begin(key, shared) {
      const flight = newFlight(key, shared);
      const others = underWay.get(key);
      if (others === undefined) underWay.set(key, [flight]);
      else others.push(flight);
      return flight;
    },
    end(flight) {
      const others = underWay.get(flight.key);
      if (others === undefined) return;
      const left = others.filter((other) => other !== flight);
      if (left.length === 0) underWay.delete(flight.key);
      else underWay.set(flight.key, left);
    },
    overtake(key) {
      for (const flight of underWay.get(key) ?? []) flight.overtaken = true;
    },
    overtakeAll() {
      for (const ofKey of underWay.values()) for (const flight of ofKey) flight.overtaken = true;
    },
  };
}

function newFlight(key: string, shared: boolean): Flight {
  let resolve: (answer: Answer) => void = () => undefined;
  let reject: (error: unknown) => void = () => undefined;
  const answer = new Promise<Answer>((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  // Every reader gets the rejection; this keeps it from counting as unhandled when they have all given up.
  answer.catch(() => undefined);
  return { key, shared, answer, resolve, reject, overtaken: false };
}
