// Processes that train, with their last sample.
import { bytes, decimal } from "../format.js";
import { html } from "../ui.js";
import { NODE_STATES } from "../words.js";
import { Ago, Empty, Meter, Pill } from "./bits.js";
import { DataTable } from "./table.js";

const percentOf = (value) => (value == null ? "–" : `${Math.round(value)}%`);

export function NodesTable({ nodes, brief }) {
  if (!nodes.length) {
    return html`<${Empty} title="No samples yet" icon="server"><p>The server and its workers report CPU and memory while a run trains.</p></${Empty}>`;
  }
  const columns = [
    { key: "node", title: "Node", head: true, draw: (node) => html`<span class="clip" title=${node.host}>${node.node}</span>` },
    { key: "state", title: "State", draw: (node) => html`<${Pill} of=${NODE_STATES} state=${node.state} small=${true} />` },
    {
      key: "cpu_percent",
      title: "CPU",
      numeric: true,
      hint: "of one core",
      draw: (node) => html`<span class="with-meter">${percentOf(node.cpu_percent)}<${Meter} value=${node.cpu_percent ?? 0} max=${100} label="CPU ${percentOf(node.cpu_percent)}" /></span>`,
    },
    { key: "rss_bytes", title: "Memory", numeric: true, draw: (node) => bytes(node.rss_bytes) },
    ...(brief
      ? []
      : [
          { key: "kind", title: "Kind" },
          { key: "memory_percent", title: "Machine's memory", numeric: true, draw: (node) => percentOf(node.memory_percent) },
          { key: "sent_bytes", title: "Sent", numeric: true, draw: (node) => bytes(node.sent_bytes) },
          { key: "received_bytes", title: "Received", numeric: true, draw: (node) => bytes(node.received_bytes) },
          { key: "gpu_percent", title: "GPU", numeric: true, draw: (node) => (node.gpu_percent == null ? "none" : decimal(node.gpu_percent, 0) + "%") },
          { key: "host", title: "Host" },
          { key: "last_seen_ts", title: "Last seen", numeric: true, draw: (node) => html`<${Ago} ts=${node.last_seen_ts} />` },
        ]),
  ];
  return html`<${DataTable} label="Nodes" columns=${columns} rows=${nodes} keyOf=${(node) => node.node} />`;
}
