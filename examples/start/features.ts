import { createRequire } from "node:module";

/** A feature of the web platform, as browser-compat-data describes it. */
export type Feature = Readonly<Record<string, unknown>>;

export interface Features {
  /** The package and its version, so that a later run knows whether it has these features already. */
  readonly source: string;
  /** One key for each feature: its dotted path with slashes, `api/AbortController/abort`. In the order of the data. */
  readonly all: readonly (readonly [key: string, feature: Feature])[];
}

const PACKAGE = "@mdn/browser-compat-data";
/** A name that stands for the description of the node it is in; every other name is a node below. */
const DESCRIPTION = "__compat";
/** What stands at the top beside the areas of the platform. */
const NO_AREAS = new Set(["__meta", "browsers"]);

/** Every node of the tree that describes a feature, at whatever depth; most lie below another one. */
export function loadFeatures(limit = Infinity): Features {
  const data = createRequire(import.meta.url)(PACKAGE) as Record<string, Feature>;
  const all: [string, Feature][] = [];
  const visit = (node: Feature, path: string): void => {
    for (const [name, below] of Object.entries(node)) {
      if (name === DESCRIPTION || all.length >= limit) continue;
      const key = path === "" ? name : `${path}/${name}`;
      const description = (below as Feature)[DESCRIPTION];
      if (description !== undefined) all.push([key, description as Feature]);
      visit(below as Feature, key);
    }
  };
  visit(Object.fromEntries(Object.entries(data).filter(([name]) => !NO_AREAS.has(name))), "");
  return { source: `${PACKAGE} ${String(data["__meta"]?.["version"])}`, all };
}
