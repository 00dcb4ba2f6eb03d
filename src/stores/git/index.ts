/** The `git:` store. docs/stores/git.md says what it promises, docs/decisions/0003-git-layout.md why it is built so. */
export { git } from "./open.ts";
export type { GitOptions } from "./open.ts";
export type { LayoutReport as GitReport } from "../git-layout/report.ts";
export { parseGitUrl } from "./url.ts";
export type { GitUrl } from "./url.ts";
