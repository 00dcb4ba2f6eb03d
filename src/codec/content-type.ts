/** What a content type says the bytes are. */
export type Form = "json" | "messagepack" | "text" | "bytes";

export const JSON_TYPE = "application/json";
export const MESSAGEPACK_TYPE = "application/vnd.microsync+msgpack";
export const TEXT_TYPE = "text/plain; charset=utf-8";
export const BYTES_TYPE = "application/octet-stream";

/** JSON is `application/json` and `*+json`; text is `text/*` in UTF-8; every other type, or none, is bytes. */
export function formOf(contentType: string | undefined): Form {
  switch (contentType) {
    case JSON_TYPE:
      return "json";
    case MESSAGEPACK_TYPE:
      return "messagepack";
    case TEXT_TYPE:
      return "text";
    case BYTES_TYPE:
    case undefined:
      return "bytes";
    default:
      return parse(contentType);
  }
}

function parse(contentType: string): Form {
  const [type = "", ...parameters] = contentType.toLowerCase().split(";");
  const name = type.trim();
  if (name === JSON_TYPE || /^[^/]+\/[^/]+\+json$/.test(name)) return "json";
  if (name === MESSAGEPACK_TYPE) return "messagepack";
  if (!name.startsWith("text/")) return "bytes";
  const charset = parameters.map((text) => text.trim()).find((text) => text.startsWith("charset="));
  return charset === undefined || /^charset="?(utf-?8|us-ascii)"?$/.test(charset) ? "text" : "bytes";
}
