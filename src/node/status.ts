import type { Hello } from "../protocol.ts";
import { SAFE, json } from "./answering.ts";
import { allowAll } from "./grants.ts";
import { metricsText } from "./metrics.ts";
import { shapeOf } from "./shape.ts";
import type { Call, NodeState } from "./state.ts";

/** GET /v1/status: for clients what they have to know, for people how the chain stands. */
export function status({ state }: Call): Response {
  const { chain, name, limits, runtime } = state;
  const { supports } = chain;
  const hello: Hello = {
    // JSON has no infinity.
    supports: {
      ...supports,
      valueBytesMax: finite(supports.valueBytesMax),
      streamBytesMax: finite(supports.streamBytesMax),
      batchMax: Math.min(supports.batchMax, limits.batchMax),
    },
    limits: { bodyBytesMax: limits.bodyBytesMax },
    shape: shapeOf(name, chain),
  };
  const uptimeMs = Math.round(runtime.monotonic() - state.startedAt);
  return json({ node: name, uptimeMs, ...hello, status: chain.status() });
}

function finite(value: number): number | null {
  return Number.isFinite(value) ? value : null;
}

/** POST /v1/flush: everything written before it is in every layer, through every node below. */
export async function flush(call: Call): Promise<Response> {
  await call.state.chain.flush({ deadline: call.deadline });
  return json({ flushed: true });
}

export function metrics({ state, grant }: Call): Response {
  allowAll(grant, "see what concerns all keys");
  const { chain, name, counters, watches, runtime, startedAt } = state;
  const text = metricsText(chain, name, counters, watches, runtime.monotonic() - startedAt);
  return new Response(text, { headers: { ...SAFE, "content-type": "text/plain; version=0.0.4; charset=utf-8" } });
}

/** The process answers. */
export function livez(): Response {
  return new Response("ok\n", { headers: { ...SAFE, "content-type": "text/plain" } });
}

/** Whether requests should be sent here. A layer that is down is no reason: copies and the journal go on without it. */
export function readyz({ isReady, stopping }: NodeState, url: URL): Response {
  const checks = [
    { name: "not stopping", ok: !stopping.isOver },
    { name: "watches begun", ok: isReady() },
  ];
  const ok = checks.every((check) => check.ok);
  const lines = checks.map((check) => `[${check.ok ? "+" : "-"}]${check.name} ${check.ok ? "ok" : "failed"}\n`);
  const text = url.searchParams.has("verbose") || !ok ? lines.join("") : "ok\n";
  return new Response(text, { status: ok ? 200 : 503, headers: { ...SAFE, "content-type": "text/plain" } });
}
