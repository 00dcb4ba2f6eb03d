import type { SyncError } from "../../error.ts";
import { gitError } from "./command.ts";
import type { Git } from "./command.ts";

/** Lets git pack what has piled up. Git itself decides whether it is worth it. */
export async function tidy(git: Git): Promise<SyncError | undefined> {
  const settings = ["-c", "gc.auto=2000", "-c", "gc.autoDetach=false"];
  const { code, stderr } = await git.run([...settings, "gc", "--auto", "--quiet"]);
  return code === 0 ? undefined : gitError("gc", stderr);
}
