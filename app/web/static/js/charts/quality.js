// Accuracy and loss of a run by round: the global model, and each client or, above twelve, their spread.
import { placeOf } from "../colors.js";
import { Empty } from "../components/bits.js";
import { decimal, percent, short } from "../format.js";
import { html, useMemo } from "../ui.js";
import { useMetrics } from "../metrics_store.js";
import { smooth } from "./columns.js";
import { LineChart, shareRange } from "./line.js";

const METRICS = [
  { key: "accuracy", title: "Accuracy", format: (value) => percent(value), axis: (value) => percent(value, value * 100 % 1 ? 1 : 0), clamp: shareRange },
  { key: "loss", title: "Loss", format: (value) => decimal(value), axis: short },
];

/** `clients`: draw their lines too; `smoothing`: rounds of an exponential mean. */
export function QualityCharts({ runId, snapshot, clients = true, smoothing = 1 }) {
  const metrics = useMetrics(clients ? runId : "", snapshot.rounds.length, snapshot.run.last_seq, snapshot.run.state);
  return html`<div class="grid-2">
    ${METRICS.map(({ key, title, format, axis, clamp }) => html`<${Quality} key=${key} ...${{ metric: key, title, format, axis, clamp, snapshot, metrics, smoothing }} />`)}
  </div>`;
}

function Quality({ metric, title, format, axis, clamp, snapshot, metrics, smoothing }) {
  const series = useMemo(() => linesOf(metric, snapshot.rounds, metrics, smoothing), [snapshot.rounds, metrics, smoothing]);
  const band = useMemo(() => bandOf(metric, snapshot.rounds, metrics), [snapshot.rounds, metrics]);
  const nothing = html`<section class="card-box"><h2 class="card-title">${title}</h2><${Empty} title="No values yet" icon="chart"><p>The first point appears when the initial model is evaluated.</p></${Empty}></section>`;
  return html`<${LineChart} title=${title} series=${series} band=${band} formatY=${format} formatAxis=${axis} clamp=${clamp} sync="quality" empty=${nothing} />`;
}

export function linesOf(metric, rounds, metrics, smoothing) {
  const global = rounds.filter((round) => round[metric] != null).map((round) => [round.server_round, round[metric]]);
  const lines = [{ name: "global model", token: "--accent-line", main: true, points: smooth(global, smoothing) }];
  for (const { name, client, points } of metrics?.series ?? []) {
    if (name !== metric || !client) continue;
    lines.push({ name: client, short: /\d+$/.exec(client)?.[0] ?? client.slice(0, 3), place: placeOf(client), points: smooth(points, smoothing) });
  }
  return lines;
}

/** The server's band; before it is there, the same figures out of the rounds. */
export function bandOf(metric, rounds, metrics) {
  if (metrics?.series.some(({ client }) => client)) return null; // each client's own line says more
  const own = metrics?.bands.find(({ name }) => name === metric);
  if (own?.points.length) return { name: "clients: median and p10–p90", points: own.points };
  const points = rounds
    .map((round) => [round.server_round, round[`client_${metric}`]])
    .filter(([, spread]) => spread?.p10 != null && spread.p90 != null)
    .map(([round, spread]) => [round, spread.p10, spread.median, spread.p90]);
  return points.length > 1 ? { name: "clients: median and p10–p90", points } : null;
}
