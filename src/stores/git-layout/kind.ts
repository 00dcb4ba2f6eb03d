import type { Meta } from "../../entry.ts";

/**
 * What a file's name says about its content, for files that carry no metadata of their own. A short list on purpose:
 * it is part of the format, since metadata that equals what the name says is not stored.
 */
const TYPES: Readonly<Record<string, string>> = {
  json: "application/json",
  txt: "text/plain; charset=utf-8",
  md: "text/markdown; charset=utf-8",
  csv: "text/csv; charset=utf-8",
  html: "text/html; charset=utf-8",
  css: "text/css; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  xml: "application/xml",
  yaml: "application/yaml",
  yml: "application/yaml",
  toml: "application/toml",
  svg: "image/svg+xml",
  png: "image/png",
  jpg: "image/jpeg",
  jpeg: "image/jpeg",
  gif: "image/gif",
  webp: "image/webp",
  pdf: "application/pdf",
};
const UNKNOWN = "application/octet-stream";

const BY_TYPE = new Map<string, Meta>();

/** The metadata of a file that has none recorded: its type by the extension of its key, and nothing else. */
export function metaOfKey(key: string): Meta {
  const name = key.slice(key.lastIndexOf("/") + 1);
  const dot = name.lastIndexOf(".");
  const extension = dot < 0 ? "" : name.slice(dot + 1).toLowerCase();
  const type = Object.hasOwn(TYPES, extension) ? (TYPES[extension] ?? UNKNOWN) : UNKNOWN;
  let meta = BY_TYPE.get(type);
  if (meta === undefined) BY_TYPE.set(type, (meta = Object.freeze({ "content-type": type })));
  return meta;
}
