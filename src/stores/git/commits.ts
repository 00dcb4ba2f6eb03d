import type { Importer } from "./importer.ts";
import { importer } from "./importer.ts";
import { commitAsPack } from "./packer.ts";
import type { PackerSettings } from "./packer.ts";

/**
 * Above, a commit becomes a pack of its own, for which a process is started. Up to here it goes to one that waits for it, and
 * its objects mostly become files of their own (below fastimport.unpackLimit, 100 objects).
 */
const FILES_FEW = 30;

/** Makes commits in the way that is cheapest for each. */
export function commits(settings: PackerSettings): Importer {
  const few = importer(settings.git);
  return {
    commit(made) {
      const files = made.files.length + made.deletes.length;
      return files > FILES_FEW ? commitAsPack(settings, made) : few.commit(made);
    },
    close: () => few.close(),
  };
}
