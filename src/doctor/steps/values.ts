import type { Entry } from "../../entry.ts";
import { SyncError } from "../../error.ts";
import type { Runtime } from "../../runtime.ts";
import { failure, failureOf } from "../finding.ts";
import type { Note } from "../finding.ts";
import { msText, rounded, sizeText, timed } from "../measure.ts";
import { entryOf, holds, put, read, write } from "../visit.ts";
import type { Step, Visit } from "../visit.ts";

/** The largest value that is tried, in bytes: enough for what servers limit by default, little enough for any line. */
const BYTES_MAX = 2 * 1024 * 1024;
/** In a history that stays. */
const KEPT_BYTES_MAX = 64 * 1024;
/** Above this no value is made just to see it refused. */
const REFUSED_BYTES_MAX = 16 * 1024 * 1024;
/** What a random source gives at once. */
const RANDOM_BYTES_MAX = 65_536;

/** Values of awkward sizes come back byte for byte, also to somebody else. */
export const values: Step = {
  id: "values",
  writes: true,
  async run(visit) {
    const { runtime, supports, patient, clients } = visit;
    const bytesMax = Math.min(supports.valueBytesMax, patient.keepsHistory ? KEPT_BYTES_MAX : BYTES_MAX);
    const small = [
      await entryOf(visit, "values/empty", ""),
      await entryOf(visit, "values/zero", Uint8Array.of(0)),
      await entryOf(visit, "values/text", "Grüße, 世界 \u{1F600}\r\n"),
      await entryOf(
        visit,
        "values/bytes",
        Uint8Array.from({ length: 256 }, (_, i) => i),
      ),
    ];
    const large = await entryOf(visit, "values/large", chance(runtime, bytesMax, patient.keepsHistory));
    if (!patient.keepsHistory) await put(visit, small);
    const [, writeMs] = await timed(runtime, () => put(visit, patient.keepsHistory ? [...small, large] : [large]));
    const entries = [...small, large];
    const notes: Note[] = [];
    for (const [i, client] of clients.entries()) {
      notes.push(...missing(await read(visit, keysOf(entries), client), entries, i > 0));
    }
    notes.push(...(await tooLarge(visit)));
    const whom = clients.length > 1 ? ", here and on a second connection" : "";
    const what =
      notes.length > 0
        ? "not all values come back"
        : `0 B to ${sizeText(bytesMax)} (written in ${msText(writeMs)}) come back${whom}`;
    return { what, notes, figures: { largeBytes: bytesMax, writeMs: rounded(writeMs) } };
  },
};

function missing(answers: readonly { entry: Entry | undefined }[], entries: readonly Entry[], elsewhere: boolean) {
  const where = elsewhere ? " on a second connection, after the write was acknowledged" : "";
  return entries.flatMap((entry, i) => {
    const found = answers[i]?.entry;
    if (holds(found, entry)) return [];
    const size = sizeText(entry.value?.length ?? 0);
    const seen =
      found === undefined ? "is missing" : found.version === entry.version ? "came back changed" : "is older";
    const cure = "check what stands between: proxies, caches, replicas that lag behind, a limit of sizes";
    return [failure(`a value of ${size} ${seen}${where}`, cure)];
  });
}

/** One byte above the limit is refused, and nothing else happens. */
async function tooLarge(visit: Visit): Promise<Note[]> {
  const { valueBytesMax } = visit.supports;
  if (valueBytesMax >= REFUSED_BYTES_MAX) return [];
  const entry = await entryOf(visit, "values/too-large", new Uint8Array(valueBytesMax + 1));
  try {
    const [result] = await write(visit, [entry]);
    if (result?.status === "failed" && result.error.code === "TOO_LARGE") return [];
    const what = `a value above its own limit of ${sizeText(valueBytesMax)} was ${result?.status ?? "lost"}`;
    return [failure(what, "correct what the store says in `supports`")];
  } catch (error) {
    if (error instanceof SyncError && error.code === "TOO_LARGE") return [];
    return [failureOf(error)];
  }
}

/** Random bytes, which nothing makes smaller; where they stay for good, one block again and again. */
function chance(runtime: Runtime, length: number, repeats: boolean): Uint8Array {
  const bytes = new Uint8Array(length);
  const block = repeats ? 1024 : RANDOM_BYTES_MAX;
  const first = runtime.random(new Uint8Array(Math.min(block, length)));
  for (let at = 0; at < length; at += block) {
    const part = repeats || at === 0 ? first : runtime.random(new Uint8Array(Math.min(block, length - at)));
    bytes.set(part.subarray(0, length - at), at);
  }
  return bytes;
}

function keysOf(entries: readonly Entry[]): string[] {
  return entries.map(({ key }) => key);
}
