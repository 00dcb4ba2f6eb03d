import { EXIT, EXIT_OK } from "./exit.ts";
import { duration, jsonLine, orNull, table } from "./lines.ts";
import { countText } from "./progress.ts";
import type { Session } from "./session.ts";

/** A key like any other: asking for it shows whether a layer answers. */
const PROBE = "microsync/status";

/** The chain, and whether its layers answer. */
export async function run({ io, json, call, open }: Session): Promise<number> {
  const { db, chain } = await open();
  const answers = await db.where(PROBE, call);
  const { authority, journal, layers, name } = db.status();
  const failed = new Map(
    answers.flatMap((answer) => (answer.state === "failed" ? [[answer.layer, answer.error]] : [])),
  );
  const status = failed.size === 0 ? EXIT_OK : EXIT.UNAVAILABLE;
  if (json) {
    const all = layers.map((layer) => ({ ...layer, error: orNull(failed.get(layer.name)?.message) }));
    await io.stdout.write(jsonLine({ name, authority: orNull(authority), journal: orNull(journal), layers: all }));
    return status;
  }
  const rows = layers.map((layer, index) => {
    const { supports, name: store } = chain.layers[index]?.store ?? chain;
    const traits = [
      layer.name === authority ? "authority" : "",
      supports.durable ? "durable" : "",
      supports.shared ? "shared" : "",
      chain.layers[index]?.readonly === true ? "read-only" : "",
    ];
    const trouble = failed.get(layer.name)?.message ?? layer.paused ?? layer.failing;
    const state = trouble?.replaceAll("\n", " ") ?? "answers";
    const waits = layer.pending === 0 ? "0" : `${layer.pending}, ${duration(layer.oldestMs)}`;
    const pending = journal === undefined ? [] : [waits];
    return [layer.name, layer.role, store, ...pending, state, traits.filter(Boolean).join(", ")];
  });
  const pending = journal === undefined ? [] : ["pending"];
  await io.stdout.write(table(["layer", "role", "store", ...pending, "state", "traits"], rows));
  if (journal !== undefined) {
    const { entries, deadLetters, conflicts, undecided } = journal;
    const letters = `${countText(deadLetters, "dead letter")}, ${countText(conflicts, "conflict")}`;
    await io.stdout.write(`journal: ${entries} pending, ${letters}, ${undecided} undecided\n`);
  }
  return status;
}
