import { SyncError } from "../error.ts";
import { nearest } from "./nearest.ts";
import { readOption } from "./values.ts";
import type { OptionKind, OptionValue } from "./values.ts";

/** A store's URL, `scheme:place?option=value&option=value`, taken apart. */
export interface StoreUrl {
  readonly text: string;
  readonly scheme: string;
  /** As written: nothing is decoded, so that a path or another program's URL stays itself. */
  readonly place: string;
  /** Each option's texts in their order, percent-decoded. */
  readonly options: ReadonlyMap<string, readonly string[]>;
}

const SCHEME = /^([a-z][a-z0-9+.-]*):(.*)$/s;

/**
 * The options begin at the last `?`. A place that holds a `?` itself is therefore written with a bare `?` at the end.
 * @throws SyncError INVALID
 */
export function parseUrl(text: string): StoreUrl {
  const [, scheme, rest = ""] = SCHEME.exec(text) ?? [];
  if (scheme === undefined) {
    const cure = "write it as scheme:place, such as memory: or lmdb:./cache";
    throw new SyncError("INVALID", `${JSON.stringify(withoutSecrets(text))} is not the URL of a store`, { cure });
  }
  const mark = rest.lastIndexOf("?");
  return {
    text: withoutSecrets(text),
    scheme,
    place: mark < 0 ? rest : rest.slice(0, mark),
    options: mark < 0 ? new Map() : parseOptions(rest.slice(mark + 1), withoutSecrets(text)),
  };
}

function parseOptions(query: string, url: string): Map<string, string[]> {
  const options = new Map<string, string[]>();
  if (query === "") return options;
  for (const part of query.split("&")) {
    const equals = part.indexOf("=");
    if (equals < 1) {
      // An @ behind the ? is more likely the end of a password that was not escaped than part of an option's name.
      const shown = part.includes("@") ? "…" : part;
      const what = `${url}: option ${JSON.stringify(shown)} has no ${equals < 0 ? "value" : "name"}`;
      throw new SyncError("INVALID", what, { cure: "write options as ?name=value&name=value" });
    }
    const name = part.slice(0, equals);
    options.set(name, [...(options.get(name) ?? []), decode(part.slice(equals + 1), name, url)]);
  }
  return options;
}

function decode(text: string, name: string, url: string): string {
  try {
    return decodeURIComponent(text);
  } catch (cause) {
    throw new SyncError("INVALID", `${url}: option ${name} has a broken % escape`, { cure: "write % as %25", cause });
  }
}

/** The values of a URL's options. @throws SyncError INVALID for an unknown or malformed one, naming those it takes. */
export function readOptions(url: StoreUrl, kinds: Readonly<Record<string, OptionKind>>): Map<string, OptionValue> {
  const values = new Map<string, OptionValue>();
  for (const [name, texts] of url.options) {
    const kind = Object.hasOwn(kinds, name) ? kinds[name] : undefined;
    if (kind === undefined) {
      const known = Object.keys(kinds).sort();
      const guess = nearest(name, known);
      throw new SyncError("INVALID", `${url.text}: there is no option ${JSON.stringify(name)}`, {
        cure: `${guess === undefined ? "" : `do you mean ${guess}? `}${url.scheme}: takes ${known.join(", ")}`,
      });
    }
    try {
      values.set(name, readOption(name, texts, kind));
    } catch (error) {
      if (!(error instanceof SyncError)) throw error;
      throw new SyncError(error.code, `${url.text}: ${error.message}`, { cause: error });
    }
  }
  return values;
}

/**
 * The text without the user and password that a URL may carry: it goes into messages. A password that should have been
 * escaped, with an @ or a / in it, is hidden too, and one among the options.
 */
export function withoutSecrets(text: string): string {
  return text
    .replaceAll(/\/\/[^/@\s]*:[^\s?]*@/g, "//…@")
    .replaceAll(/\/\/[^/\s]*@/g, "//…@")
    .replaceAll(/([?&](?:pass\w*|token|accessKeyId|secretAccessKey|sessionToken)=)[^&\s]*/gi, "$1…");
}
