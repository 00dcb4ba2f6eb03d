import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import type { Files } from "../journal/files.ts";
import { nodeFiles } from "../journal/node-files.ts";
import type { Runtime } from "../runtime.ts";

/**
 * Where values that come as streams lie while they are written, without a journal: a folder of this user's among the
 * temporary files, made with the first of them. What a crash leaves in it goes when temporary files do.
 */
export function spoolFolder(runtime: Runtime): Files {
  const { uid } = userInfo(); // -1 where there are no numbers, and the folder is the user's own
  return nodeFiles(join(tmpdir(), `microsync-${uid}`), { runtime });
}
