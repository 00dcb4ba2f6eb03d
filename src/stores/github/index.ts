/** The `github:` store. docs/stores/github.md says what it promises, docs/decisions/0003-git-layout.md how entries lie. */
export { github } from "./open.ts";
export type { GithubOptions } from "./open.ts";
export type { GithubApp } from "./app.ts";
export { GRAPHQL_LIMITS, githubBudgets } from "./spending.ts";
export type { GithubBudgetOptions, GithubBudgets } from "./spending.ts";
export { parseGithubUrl } from "./url.ts";
export type { GithubUrl } from "./url.ts";
export { githubWebhook } from "./webhook.ts";
export type { GithubWebhook, WebhookHeaders } from "./webhook.ts";
export type { LayoutReport as GithubReport } from "../git-layout/report.ts";
