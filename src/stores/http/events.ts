import { SyncError } from "../../error.ts";

export interface FeedEvent {
  readonly event: string;
  readonly data: string;
}

/** A feed tells heads and cursors, never values. */
const EVENT_CHARACTERS_MAX = 2 ** 20;

/**
 * The events of a stream of server-sent events, with those of their fields that the feed uses.
 *
 * Source: WHATWG HTML, section 9.2.6 "Interpreting an event stream".
 */
export async function* eventsOf(pieces: AsyncIterable<Uint8Array>): AsyncIterable<FeedEvent> {
  const decoder = new TextDecoder();
  let rest = "";
  let event = "message";
  let data: string[] = [];
  for await (const piece of pieces) {
    rest += decoder.decode(piece, { stream: true });
    if (rest.length > EVENT_CHARACTERS_MAX) throw new SyncError("UNAVAILABLE", "an event of the feed has no end");
    for (;;) {
      const end = /\r\n|\n|\r(?!$)/.exec(rest);
      if (end === null) break;
      const line = rest.slice(0, end.index);
      rest = rest.slice(end.index + end[0].length);
      if (line === "") {
        if (data.length > 0) yield { event, data: data.join("\n") };
        [event, data] = ["message", []];
        continue;
      }
      const [, field = "", value = ""] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? [];
      if (field === "event") event = value;
      if (field === "data") data.push(value);
    }
  }
}
