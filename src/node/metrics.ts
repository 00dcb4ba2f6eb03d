import type { Chain } from "../chain/chain.ts";

/** What the node counts by itself. */
export interface Counters {
  /** By route, method and status. */
  readonly requests: Map<string, RequestCounter>;
}

export interface RequestCounter {
  readonly labels: string;
  count: number;
  seconds: number;
}

export function counters(): Counters {
  return { requests: new Map() };
}

export function countRequest(counters: Counters, route: string, method: string, status: number, ms: number): void {
  count(requestCounter(counters, route, method, status), ms);
}

/** What counts such requests, for one who answers many. Only what has been asked for is there to be read. */
export function requestCounter({ requests }: Counters, route: string, method: string, status: number): RequestCounter {
  const id = `${route} ${method} ${status}`;
  const before = requests.get(id);
  if (before !== undefined) return before;
  const counter = { labels: labels({ route, method, status: String(status) }), count: 0, seconds: 0 };
  requests.set(id, counter);
  return counter;
}

export function count(counter: RequestCounter, ms: number): void {
  counter.count++;
  counter.seconds += ms / 1000;
}

interface Metric {
  readonly name: string;
  readonly help: string;
  readonly type: "counter" | "gauge";
  readonly values: readonly (readonly [labels: string, value: number])[];
}

/** Everything in the text format of Prometheus (version 0.0.4). No label is a key. */
export function metricsText(chain: Chain, node: string, own: Counters, watches: number, uptimeMs: number): string {
  const status = chain.status();
  const each = (value: (layer: (typeof status.layers)[number]) => number) =>
    status.layers.map((layer) => [labels({ layer: layer.name, role: layer.role }), value(layer)] as const);
  const requests = [...own.requests.values()];
  const metrics: Metric[] = [
    metric("microsync_build_info", "The node that answers.", "gauge", [[labels({ node }), 1]]),
    metric("microsync_uptime_seconds", "How long the node has been running.", "gauge", [["", uptimeMs / 1000]]),
    metric(
      "microsync_http_requests_total",
      "Requests answered.",
      "counter",
      requests.map(({ labels, count }) => [labels, count]),
    ),
    metric(
      "microsync_http_request_seconds_total",
      "Time until their answers began.",
      "counter",
      requests.map(({ labels, seconds }) => [labels, seconds]),
    ),
    metric("microsync_feeds_open", "Feeds of changes that are open.", "gauge", [["", watches]]),
    metric(
      "microsync_layer_hits_total",
      "Reads that the layer answered.",
      "counter",
      each(({ hits }) => hits),
    ),
    metric(
      "microsync_layer_misses_total",
      "Reads that asked the layer in vain.",
      "counter",
      each(({ misses }) => misses),
    ),
    metric(
      "microsync_layer_failures_total",
      "Calls that the layer failed.",
      "counter",
      each(({ failures }) => failures),
    ),
    metric(
      "microsync_layer_writes_total",
      "Entries written to the layer.",
      "counter",
      each(({ writes }) => writes),
    ),
    metric(
      "microsync_layer_fills_total",
      "Entries written to the layer because a read passed it.",
      "counter",
      each(({ fills }) => fills),
    ),
    metric(
      "microsync_layer_calls_total",
      "Calls of the layer.",
      "counter",
      each(({ calls }) => calls),
    ),
    metric(
      "microsync_layer_call_seconds_total",
      "Time that calls of the layer took.",
      "counter",
      each(({ callMs }) => callMs / 1000),
    ),
    metric(
      "microsync_layer_breaker_open",
      "1 while the layer is left alone after failures.",
      "gauge",
      each(({ breaker }) => (breaker === "closed" ? 0 : 1)),
    ),
    metric(
      "microsync_layer_watch_live",
      "1 while changes of the layer are carried upwards.",
      "gauge",
      each(({ watch }) => (watch === "live" ? 1 : 0)),
    ),
    metric(
      "microsync_layer_pending_entries",
      "Entries of the journal that the layer lacks.",
      "gauge",
      each(({ pending }) => pending),
    ),
    metric(
      "microsync_layer_pending_oldest_seconds",
      "How long the oldest of them has waited.",
      "gauge",
      each(({ oldestMs }) => oldestMs / 1000),
    ),
  ];
  const { journal } = status;
  if (journal !== undefined) {
    metrics.push(
      metric("microsync_journal_entries", "Entries that some layer lacks.", "gauge", [["", journal.entries]]),
      metric("microsync_journal_bytes", "Bytes of those entries.", "gauge", [["", journal.bytes]]),
      metric("microsync_journal_disk_bytes", "Bytes of the journal on disk.", "gauge", [["", journal.diskBytes]]),
      metric("microsync_journal_dead_letters", "Entries that a layer refused for good.", "gauge", [
        ["", journal.deadLetters],
      ]),
      metric("microsync_journal_conflicts", "Entries older than what was collected.", "gauge", [
        ["", journal.conflicts],
      ]),
    );
  }
  return metrics.map(text).join("");
}

function metric(name: string, help: string, type: Metric["type"], values: Metric["values"]): Metric {
  return { name, help, type, values };
}

function text({ name, help, type, values }: Metric): string {
  const lines = values.map(([labels, value]) => `${name}${labels} ${value}\n`);
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${lines.join("")}`;
}

function labels(pairs: Readonly<Record<string, string>>): string {
  const parts = Object.entries(pairs).map(([name, value]) => `${name}="${escaped(value)}"`);
  return `{${parts.join(",")}}`;
}

function escaped(value: string): string {
  return value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}
