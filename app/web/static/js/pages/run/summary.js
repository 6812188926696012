// The run in one view: quality, the round under way, what privacy costs, who takes part.
import { QualityCharts } from "../../charts/quality.js";
import { LineChart } from "../../charts/line.js";
import { Topology } from "../../charts/topology.js";
import { Card, Figure, Figures } from "../../components/bits.js";
import { Privacy } from "../../components/privacy.js";
import { RoundGantt } from "../../components/round_gantt.js";
import { bytes, count, epsilon, percent } from "../../format.js";
import { setQuery } from "../../router.js";
import { slowestClient } from "../../slowest.js";
import { html, useMemo } from "../../ui.js";

const SMOOTHING = [
  ["", "no smoothing"],
  ["3", "3 rounds"],
  ["7", "7 rounds"],
  ["15", "15 rounds"],
];

export default function Summary({ snapshot, query }) {
  const { run, rounds, privacy } = snapshot;
  const slow = slowestClient(snapshot);
  const smoothing = Number(query.smooth) || 1;
  const clients = query.clients !== "off";
  return html`
    <${Figures} label="Key figures">
      <${Figure} label="Best accuracy" value=${percent(run.best_accuracy)} note=${run.best_accuracy != null ? `round ${run.best_round}` : ""} />
      <${Figure} label="Accepted" value=${count(run.updates_accepted)} note=${bytes(run.bytes_received)} />
      <${Figure} label="Refused" value=${count(run.updates_rejected)} tone=${run.updates_rejected ? "bad" : ""} />
      <${Figure} label="Late" value=${count(run.updates_late)} tone=${run.updates_late ? "warn" : ""} />
      <${Figure} label="Slowest client" value=${slow?.client ?? "–"} note=${slow?.note ?? ""} />
      <${Figure} label="Privacy" value=${privacy ? `ε ${epsilon(privacy.epsilon)}` : "off"} note=${privacy?.target_epsilon ? `of ${epsilon(privacy.target_epsilon)}` : ""} />
      <${Figure} label="Parameters" value=${count(run.num_parameters)} />
    </${Figures}>
    <div class="toolbar toolbar-slim" role="group" aria-label="What the charts show">
      <label class="form-check"><input type="checkbox" class="form-check-input" checked=${clients} onChange=${(event) => setQuery({ clients: event.target.checked ? "" : "off" })} /><span class="form-check-label">Clients</span></label>
      <label class="inline-field"><span>Smooth over</span>
        <select class="form-select form-select-sm" onChange=${(event) => setQuery({ smooth: event.target.value })}>
          ${SMOOTHING.map(([value, name]) => html`<option key=${value} value=${value} selected=${value === (query.smooth ?? "")}>${name}</option>`)}
        </select>
      </label>
    </div>
    <${QualityCharts} runId=${run.run_id} snapshot=${snapshot} clients=${clients} smoothing=${smoothing} />
    <div class="grid-2">
      <${RoundGantt} snapshot=${snapshot} query=${query} />
      <${Topology} clients=${snapshot.clients} run=${run} />
    </div>
    ${privacy
      ? html`<div class="grid-2">
          <${Card} title="Privacy budget"><${Privacy} privacy=${privacy} long=${true} /></${Card}>
          <${EpsilonChart} rounds=${rounds} />
        </div>`
      : null}
  `;
}

export function EpsilonChart({ rounds }) {
  const points = useMemo(() => rounds.filter((round) => round.epsilon != null).map((round) => [round.server_round, round.epsilon]), [rounds]);
  if (!points.length) return null;
  return html`<${LineChart} title="Privacy spent" series=${[{ name: "ε, largest over clients", points, main: true, token: "--series-6" }]} formatY=${epsilon} />`;
}
