import { EXIT_OK } from "./exit.ts";
import { jsonLine, orNull, table } from "./lines.ts";
import type { Session } from "./session.ts";

/** The chain and what its layers have done in this process. */
export async function run({ io, json, open }: Session) {
  const { db, chain } = await open();
  const { authority, layers, name } = db.status();
  if (json) {
    await io.stdout.write(jsonLine({ name, authority: orNull(authority), layers }));
    return EXIT_OK;
  }
  const rows = layers.map((layer, index) => {
    const { supports, name: store } = chain.layers[index]?.store ?? chain;
    const traits = [
      layer.name === authority ? "authority" : "",
      supports.durable ? "durable" : "",
      supports.shared ? "shared" : "",
      supports.readonly ? "read-only" : "",
    ];
    return [
      layer.name,
      layer.role,
      store,
      layer.breaker === "closed" ? "ok" : layer.breaker,
      traits.filter(Boolean).join(", "),
    ];
  });
  await io.stdout.write(table(["layer", "role", "store", "state", "traits"], rows));
  return EXIT_OK;
}
