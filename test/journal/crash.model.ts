/** What the lives of a crash test said, and what must therefore be there. */
export class Told {
  private readonly keys = new Map<string, Key>();
  /** Lines that no life should say. */
  readonly wrong: string[] = [];
  acknowledged = 0;
  flushes = 0;
  failures = 0;

  get names(): string[] {
    return [...this.keys.keys()];
  }

  /** Takes in one line of a child. */
  hear(line: string): void {
    const [word = "", key = "", number = "", kind = ""] = line.split(" ");
    switch (word) {
      case "try":
        this.of(key).tries.push({ n: Number(number), kind });
        return;
      case "ack":
        this.acknowledged++;
        this.of(key).acked(Number(number));
        return;
      case "saw":
        this.saw(key, number === "none" ? undefined : Number(number));
        return;
      case "flushed":
        this.flushes++;
        return;
      case "failed":
        this.failures++;
        return;
      case "open":
        return;
      default:
        this.wrong.push(line);
    }
  }

  /** Somebody read the key: it must be what was acknowledged last, or something tried later, and stays so. */
  saw(key: string, value: number | undefined, where = "a reader"): void {
    const why = this.of(key).see(value);
    if (why !== undefined) this.wrong.push(`${where} saw ${key} as ${value ?? "nothing"}: ${why}`);
  }

  private of(name: string): Key {
    let key = this.keys.get(name);
    if (key === undefined) {
      key = name.startsWith("c/") ? new Counter() : new Written();
      this.keys.set(name, key);
    }
    return key;
  }
}

interface Try {
  readonly n: number;
  readonly kind: string;
}

interface Key {
  readonly tries: Try[];
  acked(n: number): void;
  /** @returns what is wrong with it. */
  see(value: number | undefined): string | undefined;
}

/** A key with one writer, who waits for each answer: what is not acknowledged comes after what is. */
class Written implements Key {
  /** The last one that is certain, and those after it. */
  tries: Try[] = [{ n: 0, kind: "delete" }];

  acked(n: number): void {
    this.tries = this.tries.slice(this.tries.findIndex((each) => each.n === n));
  }

  see(value: number | undefined): string | undefined {
    const found = this.tries.find(({ n, kind }) => (kind === "delete" ? value === undefined : value === n));
    if (found === undefined) return `it may be ${this.tries.map(({ n, kind }) => `${n} (${kind})`).join(" or ")}`;
    this.acked(found.n);
    return undefined;
  }
}

/** Raised by one at a time, by each try once at most, by each acknowledged one exactly once. */
class Counter implements Key {
  readonly tries: Try[] = [];
  private least = 0;
  private ackedCount = 0;

  acked(): void {
    this.ackedCount++;
  }

  see(value = 0): string | undefined {
    const least = Math.max(this.least, this.ackedCount);
    if (value < least) return `it was raised ${least} times`;
    if (value > this.tries.length) return `${this.tries.length} tried to raise it`;
    this.least = value;
    return undefined;
  }
}
