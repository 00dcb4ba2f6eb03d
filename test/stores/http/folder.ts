import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

export function folderFor(name: string): Promise<string> {
  return mkdtemp(join(tmpdir(), `microsync-${name}-`));
}
