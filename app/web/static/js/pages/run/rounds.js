// Every round as a row, and the chosen one as a Gantt.
import { Empty, Pill } from "../../components/bits.js";
import { RoundGantt } from "../../components/round_gantt.js";
import { DataTable } from "../../components/table.js";
import { bytes, count, decimal, duration, epsilon, percent } from "../../format.js";
import { setQuery } from "../../router.js";
import { html, useMemo } from "../../ui.js";
import { ROUND_STATES } from "../../words.js";

const spread = (value, format) => (value ? html`<span title="${format(value.minimum)} to ${format(value.maximum)} over the clients">${format(value.mean)}<span class="faint"> ± ${format(value.deviation)}</span></span>` : "–");

const COLUMNS = [
  { key: "server_round", title: "Round", numeric: true, head: true, draw: (row) => html`<button type="button" class="link" onClick=${() => setQuery({ round: row.server_round || "" })} disabled=${!row.server_round}>${row.server_round || "initial model"}</button>${row.attempt > 1 ? html` <span class="tag">attempt ${row.attempt}</span>` : null}` },
  { key: "state", title: "State", draw: (row) => html`<${Pill} of=${ROUND_STATES} state=${row.state} small=${true} />${row.kept_old_model ? html` <span class="tag tone-warn">old model kept</span>` : null}` },
  { key: "accuracy", title: "Accuracy", numeric: true, draw: (row) => percent(row.accuracy) },
  { key: "loss", title: "Loss", numeric: true, draw: (row) => decimal(row.loss) },
  { key: "client_accuracy", title: "Clients' accuracy", numeric: true, value: (row) => row.client_accuracy?.mean, draw: (row) => spread(row.client_accuracy, (value) => percent(value)) },
  { key: "accepted", title: "Accepted", numeric: true, draw: (row) => count(row.accepted) },
  { key: "rejected", title: "Refused", numeric: true, draw: (row) => (row.rejected ? html`<strong class="text-bad">${row.rejected}</strong>` : "0") },
  { key: "late", title: "Late", numeric: true, draw: (row) => count(row.late) },
  { key: "seconds", title: "Took", numeric: true, draw: (row) => duration(row.seconds || row.evaluate_seconds) },
  { key: "collect_seconds", title: "Collecting", numeric: true, draw: (row) => duration(row.collect_seconds) },
  { key: "aggregate_seconds", title: "Aggregating", numeric: true, draw: (row) => duration(row.aggregate_seconds) },
  { key: "bytes_received", title: "Received", numeric: true, draw: (row) => bytes(row.bytes_received) },
  { key: "epsilon", title: "ε", numeric: true, draw: (row) => epsilon(row.epsilon) },
  { key: "model_digest", title: "Model", sortable: false, draw: (row) => (row.model_digest ? html`<code title=${row.model_digest}>${row.model_digest.slice(0, 8)}</code>` : "–") },
];

export default function Rounds({ snapshot, query }) {
  const { rounds, num_rounds_known: known, run } = snapshot;
  const newestFirst = useMemo(() => [...rounds].reverse(), [rounds]);
  if (!rounds.length) return html`<section class="card-box"><${Empty} title="No round yet" icon="clock"><p>The first row appears when the initial model is evaluated.</p></${Empty}></section>`;
  return html`
    <${RoundGantt} snapshot=${snapshot} query=${query} />
    <div class="card-box card-flush">
      <${DataTable} label="Rounds" columns=${COLUMNS} rows=${newestFirst} keyOf=${(row) => row.server_round} maxHeight=${rounds.length > 14} rowClass=${(row) => (String(row.server_round) === query.round ? "is-chosen" : "")} />
    </div>
    <p class="actions"><span class="faint">${known > rounds.length ? `${count(rounds.length)} of ${count(known)} rounds, thinned for the page. ` : ""}All of them:</span>
      <a class="btn btn-sm btn-outline-secondary" href="/api/v1/runs/${encodeURIComponent(run.run_id)}/export?format=csv" download>CSV</a>
      <a class="btn btn-sm btn-outline-secondary" href="/api/v1/runs/${encodeURIComponent(run.run_id)}/export?format=json" download>JSON</a>
    </p>
  `;
}
