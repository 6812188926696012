// Runs as rows. The same table on the overview, in the list and in the picker of the comparison.
import { count, dateTime, decimal, duration, epsilon, percent } from "../format.js";
import { html } from "../ui.js";
import { RUN_STATES } from "../words.js";
import { Ago, Pill } from "./bits.js";
import { Sparkline } from "./sparkline.js";
import { DataTable } from "./table.js";

/** `select`: {chosen: Set, toggle(id)} puts a tick box before each run. */
export function RunsTable({ runs, plain, select, sort, onSort, empty }) {
  const columns = [
    ...(select
      ? [
          {
            key: "select",
            title: "",
            spoken: "Select",
            sortable: false,
            class: "tick",
            draw: (run) => html`<input type="checkbox" class="form-check-input" aria-label="Select ${run.name || run.run_id}" checked=${select.chosen.has(run.run_id)} onChange=${() => select.toggle(run.run_id)} />`,
          },
        ]
      : []),
    {
      key: "name",
      title: "Run",
      head: true,
      draw: (run) => html`<a class="run-link" href="/runs/${encodeURIComponent(run.run_id)}">${run.name || run.run_id}</a>${run.name ? html`<span class="sub">${run.run_id}</span>` : null}`,
    },
    { key: "state", title: "State", draw: (run) => html`<${Pill} of=${RUN_STATES} state=${run.state} small=${true} />` },
    { key: "rounds", title: "Rounds", numeric: true, draw: (run) => html`${count(run.rounds_completed)}<span class="faint"> / ${count(run.num_rounds)}</span>` },
    { key: "spark", title: "Progress", sortable: false, draw: (run) => html`<${Sparkline} points=${run.spark} />` },
    { key: "accuracy", title: "Accuracy", numeric: true, draw: (run) => percent(run.accuracy) },
    { key: "loss", title: "Loss", numeric: true, draw: (run) => decimal(run.loss) },
    { key: "epsilon", title: "ε", hint: "Privacy spent", numeric: true, draw: (run) => (run.epsilon == null ? html`<span class="faint">off</span>` : epsilon(run.epsilon)) },
    { key: "rejected", title: "Refused", numeric: true, draw: (run) => (run.updates_rejected ? html`<strong class="text-bad">${count(run.updates_rejected)}</strong>` : "0") },
    { key: "clients", title: "Clients", numeric: true, draw: (run) => count(run.num_clients) },
    { key: "strategy", title: "Set-up", sortable: false, draw: (run) => html`<span class="sub-inline">${[run.dataset, run.model, run.strategy].filter(Boolean).join(" · ")}</span>` },
    { key: "seconds", title: "Took", numeric: true, sortable: false, draw: (run) => duration(run.seconds) },
    { key: "created", title: "Created", numeric: true, draw: (run) => html`<span title=${dateTime(run.created_ts)}><${Ago} ts=${run.created_ts} step=${30000} /></span>` },
  ].map((column) => (plain ? { ...column, sortable: false } : column));
  return html`<${DataTable} label="Runs" columns=${columns} rows=${runs} keyOf=${(run) => run.run_id} sort=${sort} onSort=${onSort ?? (() => {})} empty=${empty} rowClass=${(run) => (select?.chosen.has(run.run_id) ? "is-chosen" : "")} />`;
}
