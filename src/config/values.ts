import { SyncError } from "../error.ts";

/**
 * What an option of a URL may be: a size in bytes (`64mb`), a duration in milliseconds (`5s`), a whole number, a share
 * from 0 up to but not 1, true or false, a text, a text that may be given several times, or one of a few words.
 */
export type OptionKind = "size" | "duration" | "count" | "share" | "flag" | "text" | "texts" | readonly string[];

export type OptionValue = string | number | boolean | readonly string[];

const SIZE_UNITS: Readonly<Record<string, number>> = { b: 1, kb: 1024, mb: 1024 ** 2, gb: 1024 ** 3 };
const DURATION_UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** @throws SyncError INVALID, saying what the option takes. */
export function readOption(name: string, texts: readonly string[], kind: OptionKind): OptionValue {
  if (kind === "texts") {
    if (texts.includes("")) throw refused(name, "", "a text that is not empty");
    return texts;
  }
  const [text = ""] = texts;
  if (texts.length > 1) {
    throw new SyncError("INVALID", `option ${name} is given ${texts.length} times`, { cure: "give it once" });
  }
  if (typeof kind !== "string") {
    if (!kind.includes(text)) throw refused(name, text, kind.join(" or "));
    return text;
  }
  switch (kind) {
    case "text":
      if (text === "") throw refused(name, text, "a text that is not empty");
      return text;
    case "size":
      return scaled(name, text, SIZE_UNITS, "a size such as 65536, 64kb or 1.5gb", true);
    case "duration":
      return scaled(name, text, DURATION_UNITS, "a duration such as 500ms, 5s, 10m, 2h or 1d", false);
    case "count":
      if (!/^\d{1,15}$/.test(text)) throw refused(name, text, "a whole number");
      return Number(text);
    case "share": {
      const share = /^0(\.\d{1,9})?$/.test(text) ? Number(text) : Number.NaN;
      if (Number.isNaN(share)) throw refused(name, text, "a share from 0 up to but not 1, such as 0.1");
      return share;
    }
    case "flag":
      if (text !== "true" && text !== "false") throw refused(name, text, "true or false");
      return text === "true";
  }
}

/** A duration such as `5s` in milliseconds. @throws SyncError INVALID. */
export function readDuration(name: string, text: string): number {
  return Number(readOption(name, [text], "duration"));
}

function scaled(
  name: string,
  text: string,
  units: Readonly<Record<string, number>>,
  takes: string,
  unitless: boolean,
): number {
  const [, digits = "", unit = ""] = /^(\d{1,15}(?:\.\d{1,6})?)([a-z]*)$/i.exec(text) ?? [];
  // A duration without a unit would be seconds to one reader and milliseconds to the next.
  const factor = unit === "" ? (unitless || digits === "0" ? 1 : undefined) : units[unit.toLowerCase()];
  const value = digits === "" || factor === undefined ? Number.NaN : Math.round(Number(digits) * factor);
  if (!Number.isSafeInteger(value)) throw refused(name, text, takes);
  return value;
}

function refused(name: string, text: string, takes: string): SyncError {
  return new SyncError("INVALID", `option ${name} is ${JSON.stringify(text.slice(0, 64))}`, {
    cure: `it takes ${takes}`,
  });
}
