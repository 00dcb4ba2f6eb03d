import { afterAll, describe, test } from "vitest";
import { systemRuntime } from "../../src/system.ts";
import { conformance } from "../../src/testing/index.ts";
import { scratch } from "./git/place.ts";

conformance({
  name: "git in a bare repository",
  runner: { describe, test, afterAll },
  open: async () => {
    const place = scratch();
    const open = () => place.open("git:./truth.git#main", { create: true });
    return { store: await open(), runtime: systemRuntime, reopen: open, close: () => place.remove() };
  },
});
