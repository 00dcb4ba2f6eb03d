/** One candidate in a process of its own: `node run.js NAME measure|answers`, and the figures as JSON. */
import { answers } from "./answers.ts";
import { CANDIDATES } from "./candidates.ts";
import { measure } from "./measures.ts";

const [name, what] = process.argv.slice(2);
const candidate = CANDIDATES.find((one) => one.name === name);
if (candidate === undefined || (what !== "measure" && what !== "answers")) {
  throw new Error(
    `usage: run.js CANDIDATE measure|answers; candidates: ${CANDIDATES.map((one) => one.name).join(", ")}`,
  );
}
process.stdout.write(`${JSON.stringify(await (what === "measure" ? measure : answers)(candidate))}\n`);
