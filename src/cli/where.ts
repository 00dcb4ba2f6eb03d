import type { WhereAnswer } from "../chain/chain.ts";
import { EXIT_NO_VALUE, EXIT_OK } from "./exit.ts";
import { duration, jsonLine, table } from "./lines.ts";
import type { Session } from "./session.ts";

/** What each layer holds of a key. */
export async function run({ io, json, call, open }: Session, [key = ""]: readonly string[]) {
  const { db } = await open();
  const answers = await db.where(key, call);
  if (json) for (const answer of answers) await io.stdout.write(jsonLine(toJson(answer)));
  else await io.stdout.write(table(["layer", "role", "holds", "version", "known", "expires"], answers.map(toRow)));
  return answers.some(({ state }) => state === "has") ? EXIT_OK : EXIT_NO_VALUE;
}

function toJson(answer: WhereAnswer) {
  const { layer, role, state } = answer;
  switch (answer.state) {
    case "has": {
      const { head, version, ageMs } = answer;
      return { layer, role, state: head.state, version, expires: head.expires, meta: head.meta, ageMs };
    }
    case "absent":
      return { layer, role, state, ageMs: answer.ageMs };
    case "failed":
      return { layer, role, state, code: answer.error.code, message: answer.error.message };
    case "excluded":
      return { layer, role, state };
  }
}

function toRow(answer: WhereAnswer): string[] {
  const { layer, role } = answer;
  switch (answer.state) {
    case "has": {
      const { head, version, ageMs } = answer;
      const expires = head.expires === null ? "never" : new Date(head.expires).toISOString();
      return [layer, role, head.state, version, ago(ageMs), expires];
    }
    case "absent":
      return [layer, role, "nothing", "-", ago(answer.ageMs), "-"];
    case "failed":
      return [layer, role, `? ${answer.error.message.replaceAll("\n", " ")}`, "-", "-", "-"];
    case "excluded":
      return [layer, role, "not for this key", "-", "-", "-"];
  }
}

function ago(ageMs: number): string {
  return ageMs < 1_000 ? "now" : `${duration(ageMs)} ago`;
}
