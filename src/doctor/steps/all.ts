import type { Step } from "../visit.ts";
import { abilities } from "./abilities.ts";
import { batch } from "./batch.ts";
import { clock } from "./clock.ts";
import { conditions } from "./conditions.ts";
import { expiry } from "./expiry.ts";
import { forget } from "./forget.ts";
import { keys } from "./keys.ts";
import { newest } from "./newest.ts";
import { speed } from "./speed.ts";
import { values } from "./values.ts";
import { watch } from "./watch.ts";

/** In their order: what the later ones rest on comes first. */
export const STEPS: readonly Step[] = [
  abilities,
  clock,
  values,
  speed,
  newest,
  conditions,
  expiry,
  watch,
  keys,
  batch,
  forget,
];
