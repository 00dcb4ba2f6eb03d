/** A plot of memory hits, sets and misses as bars, for light and dark pages. No script, no font, no size of its own. */
import { microseconds, spreadOf, TITLES } from "./report.ts";
import type { Entrant } from "./report.ts";
import type { Measure } from "./measures.ts";

const PANELS: readonly Measure[] = ["hit", "set", "miss"];
const WIDTH = 720;
const LABEL = 130;
const BAR_MAX = 430;
const ROW = 18;
const GAP = 46;

const STYLE = `text { font: 12px system-ui, sans-serif; fill: #24292f; }
.title { font-weight: 600; font-size: 13px; }
.note { fill: #57606a; }
.own { fill: #0969da; }
.peer { fill: #8c959f; }
.spread { stroke: #24292f; stroke-width: 1; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .note { fill: #9198a1; }
  .own { fill: #4493f8; }
  .peer { fill: #656c76; }
  .spread { stroke: #e6edf3; }
}`;

/** @param foot machine and versions. */
export function plot(entrants: readonly Entrant[], foot: string): string {
  const parts: string[] = [];
  let y = 20;
  for (const measure of PANELS) {
    const bars = entrants
      .map(({ candidate, rounds }) => ({
        name: candidate.name,
        us: spreadOf(rounds.flatMap((round) => round[measure]?.us ?? [])),
      }))
      .filter(({ us }) => !Number.isNaN(us.median))
      .toSorted((a, b) => a.us.median - b.us.median);
    parts.push(text(0, y, `${TITLES[measure]}: µs, logarithmic, shorter is faster`, "title"));
    const times = bars.flatMap(({ us }) => [us.from, us.median, us.to]);
    const floor = Math.min(...times) / 2;
    const scale = BAR_MAX / Math.log(Math.max(...times) / floor);
    const x = (us: number) => LABEL + Math.max(0, Math.log(us / floor) * scale);
    for (const { name, us } of bars) {
      y += ROW;
      const own = name.startsWith("sync") ? "own" : "peer";
      parts.push(
        text(0, y, name),
        `<rect class="${own}" x="${LABEL}" y="${y - 11}" width="${(x(us.median) - LABEL).toFixed(1)}" height="13"/>`,
        `<path class="spread" d="M${x(us.from).toFixed(1)} ${y - 4.5}H${x(us.to).toFixed(1)}"/>`,
        text(LABEL + BAR_MAX + 12, y, microseconds(us.median)),
      );
    }
    y += GAP;
  }
  parts.push(text(0, y - 16, foot, "note"));
  const label = "How long a memory hit, a set and a miss take in Sync and in its peers";
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="-10 0 ${WIDTH} ${y}" role="img" aria-label="${label}">`,
    `<style>${STYLE}</style>`,
    ...parts,
    "</svg>",
    "",
  ].join("\n");
}

function text(x: number, y: number, said: string, look?: string): string {
  const safe = said.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  return `<text x="${x}" y="${y}"${look === undefined ? "" : ` class="${look}"`}>${safe}</text>`;
}
