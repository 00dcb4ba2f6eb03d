/**
 * Whether a whole text matches a pattern: `*` is any text without a slash, `**` any text, `?` one character but a slash;
 * everything else is itself. All ways through the pattern are followed at once, a character at a time, so the time is that of
 * length by length, whatever text somebody gave a key.
 */
export function globOf(pattern: string): (text: string) => boolean {
  const steps = stepsOf(pattern);
  const end = steps.length;
  let now = new Uint8Array(end + 1);
  let next = new Uint8Array(end + 1);
  return (text) => {
    now.fill(0);
    reach(now, 0);
    for (const char of text) {
      next.fill(0);
      for (let at = 0; at < end; at++) {
        if (now[at] === 0) continue;
        const step = steps[at];
        if (step === "**" || (step === "*" && char !== "/")) reach(next, at);
        else if (step !== "*" && (step === char || (step === ONE && char !== "/"))) reach(next, at + 1);
      }
      [now, next] = [next, now];
    }
    return now[end] === 1;
  };

  /** A star may stand for nothing, so what follows it is reached with it. */
  function reach(set: Uint8Array, at: number): void {
    let i = at;
    set[i] = 1;
    while (steps[i] === "*" || steps[i] === "**") set[++i] = 1;
  }
}

/** No character of a pattern is this one. */
const ONE = "one";

function stepsOf(pattern: string): string[] {
  return (pattern.match(/\*\*|\*|[^*]/gsu) ?? []).map((part) => (part === "?" ? ONE : part));
}
