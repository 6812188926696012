// Processor and memory of the server and its workers: now, and over the run.
import { get } from "../../api.js";
import { LineChart } from "../../charts/line.js";
import { lineOf } from "../../colors.js";
import { Card, Empty, Failure } from "../../components/bits.js";
import { NodesTable } from "../../components/nodes.js";
import { bytes, duration } from "../../format.js";
import { html, useEffect, useMemo, useState } from "../../ui.js";
import { LIVING } from "../../living.js";

const AGAIN_MS = 5_000;
const MOST_NODES = 12;

export default function System({ snapshot }) {
  const { nodes, run } = snapshot;
  const { samples, error } = useSamples(run, nodes);
  const cpu = useMemo(() => linesOf(samples, "cpu_percent", run.started_ts), [samples]);
  const memory = useMemo(() => linesOf(samples, "rss_bytes", run.started_ts), [samples]);
  return html`
    <${Card} title="Nodes"><${NodesTable} nodes=${nodes} /></${Card}>
    ${error ? html`<${Failure} error=${error} />` : null}
    ${cpu.length
      ? html`<div class="grid-2">
          <${LineChart} title="Processor" series=${cpu} xLabel="seconds" formatX=${(value) => duration(value)} formatY=${(value) => `${Math.round(value)}%`} sync="system" />
          <${LineChart} title="Memory" series=${memory} xLabel="seconds" formatX=${(value) => duration(value)} formatY=${bytes} sync="system" />
        </div>`
      : nodes.length ? html`<section class="card-box"><${Empty} title="No history of samples yet" icon="chart" /></section>` : null}
  `;
}

function useSamples(run, nodes) {
  const [answer, setAnswer] = useState({ samples: [], error: null });
  const names = nodes.slice(0, MOST_NODES).map(({ node }) => node).join("\n");
  useEffect(() => {
    if (!names) return undefined;
    let gone = false;
    const load = async () => {
      try {
        const found = await Promise.all(names.split("\n").map(async (node) => [node, await get(`/runs/${encodeURIComponent(run.run_id)}/samples`, { node, max_points: 300 })]));
        if (!gone) setAnswer({ samples: found, error: null });
      } catch (error) {
        if (!gone) setAnswer((old) => ({ ...old, error: error.status === 404 ? null : error }));
      }
    };
    load();
    const timer = LIVING.has(run.state) ? setInterval(load, AGAIN_MS) : 0;
    return () => {
      gone = true;
      clearInterval(timer);
    };
  }, [run.run_id, names, LIVING.has(run.state)]);
  return answer;
}

function linesOf(samples, key, began) {
  return samples
    .map(([node, answer], index) => {
      const points = answer.items.filter((sample) => sample[key] != null).map((sample) => [Math.max(0, Math.round(sample.ts - (began ?? sample.ts))), sample[key]]);
      return { name: node, place: index, token: lineOf(index).token, points };
    })
    .filter(({ points }) => points.length);
}
