import { expect, it } from "vitest";
import { pushBudget } from "../src/config/push-budget.ts";
import { simulatedRuntime } from "../src/testing/index.ts";

it("limits pushes to github.com, by whatever transport, together for one credential", () => {
  const runtime = simulatedRuntime({ seed: 1 });
  const https = pushBudget(runtime, "https://ada:token@github.com/ada/store.git");
  expect(https?.status()).toEqual([{ limit: "pushes a minute", max: 6, remaining: 6 }]);
  expect(https?.name).toBe("pushes to github.com");
  expect(pushBudget(runtime, "https://ada:token@GitHub.com/ada/other.git")).toBe(https);
  expect(pushBudget(runtime, "git@github.com:ada/store.git")?.status()).toHaveLength(1);
  expect(pushBudget(runtime, "ssh://git@github.com/ada/store.git")).toBe(pushBudget(runtime, "git@github.com:x/y"));
  expect(pushBudget(runtime, "git@github.com:ada/store.git")).not.toBe(https);
  for (const other of [
    "https://example.com/github.com/x.git",
    "git@example.com:github.com.git",
    "file:///github.com",
  ]) {
    expect([other, pushBudget(runtime, other)]).toEqual([other, undefined]);
  }
});
