// The lines of a Gantt from the updates of a round. Pure.
import { natural } from "../format.js";

const STRAGGLES_FROM = 1.5; // times the median of its phase

function medianOf(values) {
  if (!values.length) return 0;
  const rising = [...values].sort((a, b) => a - b);
  const middle = rising.length >> 1;
  return rising.length % 2 ? rising[middle] : (rising[middle - 1] + rising[middle]) / 2;
}

/** {rows: slowest first, span: seconds the axis covers, median: of training, slow: names of stragglers}. */
export function ganttRows(updates, elapsed = 0) {
  const clients = new Map();
  const answered = {};
  for (const update of updates) {
    const start = update.start_s ?? 0;
    const waits = update.state === "waiting";
    const seconds = update.seconds ?? Math.max(0, elapsed - start);
    const bar = { phase: update.phase, state: update.state, start, seconds, compute: update.compute_seconds, reason: update.reason };
    if (!clients.has(update.client)) clients.set(update.client, []);
    clients.get(update.client).push(bar);
    if (!waits) (answered[update.phase] ??= []).push(seconds);
  }
  // The first to answer are the fast ones: what is usual is known once half of them have.
  const usual = Object.entries(answered).filter(([phase, values]) => 2 * values.length >= updates.filter((each) => each.phase === phase).length);
  const medians = Object.fromEntries(usual.map(([phase, values]) => [phase, medianOf(values)]));
  const rows = [...clients].map(([client, bars]) => {
    for (const bar of bars) bar.factor = medians[bar.phase] ? bar.seconds / medians[bar.phase] : null;
    const worst = Math.max(0, ...bars.map((bar) => bar.factor ?? 0));
    return {
      client,
      bars: bars.sort((a, b) => a.start - b.start),
      total: bars.reduce((sum, bar) => sum + bar.seconds, 0),
      straggles: worst >= STRAGGLES_FROM && clients.size > 2 ? worst : 0,
    };
  });
  rows.sort((a, b) => b.total - a.total || natural(a.client, b.client));
  const span = Math.max(0.001, elapsed, ...rows.flatMap(({ bars }) => bars.map((bar) => bar.start + bar.seconds)));
  return { rows, span, median: medians.train ?? 0, slow: rows.filter((row) => row.straggles).map((row) => row.client) };
}
