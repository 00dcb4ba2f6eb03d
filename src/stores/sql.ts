export { sql } from "./sql/open.ts";
export type { SqlOptions } from "./sql/open.ts";
