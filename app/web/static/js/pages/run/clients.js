// Every client over all rounds, and the data each one holds.
import { ClassBars, MiniHistogram } from "../../charts/bars.js";
import { Topology } from "../../charts/topology.js";
import { Ago, Empty, Pill } from "../../components/bits.js";
import { DataTable } from "../../components/table.js";
import { bytes, count, decimal, duration, epsilon, percent } from "../../format.js";
import { setQuery } from "../../router.js";
import { Icon } from "../../icons.js";
import { html, useMemo } from "../../ui.js";
import { CLIENT_STATES } from "../../words.js";

export default function Clients({ snapshot, query }) {
  const { clients, partition, run } = snapshot;
  const { q = "", sort = "" } = query;
  const shown = useMemo(() => clients.filter(({ client }) => client.toLowerCase().includes(q.toLowerCase())), [clients, q]);
  if (!clients.length) return html`<section class="card-box"><${Empty} title="No client yet" icon="server"><p>Clients appear when the run has started.</p></${Empty}></section>`;
  return html`
    <div class="toolbar">
      <label class="search"><span class="visually-hidden">Search clients</span><${Icon} name="search" /><input type="search" class="form-control" placeholder="Search clients" value=${q} onInput=${(event) => setQuery({ q: event.target.value })} /></label>
      <span class="toolbar-note" role="status">${count(shown.length)} of ${count(run.num_clients)}${run.num_clients > clients.length ? `; ${clients.length} are listed` : ""}</span>
    </div>
    <div class="card-box card-flush">
      <${DataTable} label="Clients" columns=${columnsOf(partition)} rows=${shown} keyOf=${({ client }) => client} sort=${sort} maxHeight=${shown.length > 14} empty=${html`<${Empty} title="No client matches" icon="search" />`} />
    </div>
    <div class="grid-2">
      ${partition ? html`<${ClassBars} title="Class histogram by client" classNames=${partition.class_names} histograms=${partition.histograms} total=${partition.num_clients} />` : html`<section class="card-box"><${Empty} title="Nothing is known of the clients' data" icon="chart"><p>Clients on machines of their own keep their class counts to themselves.</p></${Empty}></section>`}
      <${Topology} clients=${clients} run=${run} />
    </div>
  `;
}

function columnsOf(partition) {
  return [
    { key: "client", title: "Client", head: true, draw: ({ client }) => html`<span class="clip">${client}</span>` },
    { key: "state", title: "State", draw: ({ state }) => html`<${Pill} of=${CLIENT_STATES} state=${state} small=${true} />` },
    { key: "num_examples", title: "Examples", numeric: true, draw: (each) => count(each.num_examples) },
    { key: "histogram", title: "Classes", sortable: false, draw: (each) => html`<${MiniHistogram} counts=${each.histogram} classNames=${partition?.class_names} />` },
    { key: "accuracy", title: "Accuracy", numeric: true, draw: (each) => percent(each.accuracy) },
    { key: "loss", title: "Loss", numeric: true, draw: (each) => decimal(each.loss) },
    { key: "mean_seconds", title: "Seconds a round", numeric: true, draw: (each) => duration(each.mean_seconds) },
    { key: "accepted", title: "Accepted", numeric: true, draw: (each) => html`${count(each.accepted)}<span class="faint"> / ${count(each.asked)}</span>` },
    { key: "rejected", title: "Refused", numeric: true, draw: (each) => (each.rejected ? html`<strong class="text-bad">${count(each.rejected)}</strong>` : "0") },
    { key: "late", title: "Late", numeric: true, draw: (each) => count(each.late) },
    { key: "bytes_received", title: "Received", numeric: true, draw: (each) => bytes(each.bytes_received) },
    { key: "epsilon", title: "ε", numeric: true, draw: (each) => epsilon(each.epsilon) },
    { key: "last_seen_ts", title: "Last seen", numeric: true, draw: (each) => html`<${Ago} ts=${each.last_seen_ts} />` },
  ];
}
