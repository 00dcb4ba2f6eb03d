import type { Place } from "../git-layout/place.ts";
import type { Git } from "./command.ts";

/** A branch in a repository on this machine, if only a mirror. */
export interface GitPlace extends Place {
  readonly git: Git;
}
