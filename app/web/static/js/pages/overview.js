// What the federation is doing, why it waits, who is slow, what was refused, what privacy is left: in ten seconds.
import { RunActions } from "../components/actions.js";
import { Ago, Card, Empty, Failure, Figure, Figures, Pill, ReadOnlyHint, Skeleton } from "../components/bits.js";
import { Rejections } from "../components/rejections.js";
import { NodesTable } from "../components/nodes.js";
import { RoundsBar } from "../components/rounds_bar.js";
import { RunsTable } from "../components/runs_table.js";
import { Privacy } from "../components/privacy.js";
import { PageTitle } from "../components/title.js";
import { Stars } from "../charts/stars.js";
import { QualityCharts } from "../charts/quality.js";
import { bytes, count, decimal, duration, percent } from "../format.js";
import { useRun } from "../run_store.js";
import { LIVING } from "../living.js";
import { currentRun, loadNewest, newest } from "../runs_store.js";
import { useStore } from "../store.js";
import { slowestClient } from "../slowest.js";
import { html } from "../ui.js";
import { reasonOf } from "../reason.js";
import { RUN_STATES } from "../words.js";

export default function Overview() {
  const { runs, error } = useStore(newest);
  const current = currentRun(runs);
  const { snapshot, error: runError } = useRun(current?.run_id ?? "");
  const shown = snapshot && snapshot.run.run_id === current?.run_id ? snapshot : null;
  return html`
    <${PageTitle} title="Overview" />
    ${error && !runs ? html`<${Failure} error=${error} retry=${loadNewest} />` : null}
    ${!runs && !error ? html`<${Skeleton} tall=${true} />` : null}
    ${runs && !current ? html`<${NoRuns} />` : null}
    ${current ? html`<${Hero} run=${shown?.run ?? current} snapshot=${shown} />` : null}
    ${runError && !shown ? html`<${Failure} error=${runError} />` : null}
    ${shown ? html`<${Detail} snapshot=${shown} />` : null}
    ${runs?.length ? html`<${Card} title="Recent runs" aside=${html`<a href="/runs">All runs</a>`}><${RunsTable} runs=${runs.slice(0, 6)} plain=${true} /></${Card}>` : null}
  `;
}

function NoRuns() {
  return html`<section class="card-box">
    <${Empty} title="No run yet" icon="play">
      <p>Start one here, or in a terminal; it appears on this page by itself.</p>
      <div class="actions actions-center">
        <a class="btn btn-primary" href="/runs/new">New run</a>
        <code class="inline-code">python run_demo.py</code>
      </div>
      <${ReadOnlyHint} action="To start a run here" />
    </${Empty}>
  </section>`;
}

function Hero({ run, snapshot }) {
  const living = LIVING.has(run.state);
  return html`<section class="hero tone-${RUN_STATES[run.state]?.tone}" aria-labelledby="hero-title">
    <div class="hero-words">
      <p class="hero-kicker">${living ? "Current run" : "Latest run"} · <${Pill} of=${RUN_STATES} state=${run.state} /></p>
      <h2 class="hero-title" id="hero-title"><a href="/runs/${encodeURIComponent(run.run_id)}">${run.name || run.run_id}</a></h2>
      <p class="hero-reason" aria-live="polite">${reasonOf(run)}</p>
      <div class="hero-rounds">
        <${RoundsBar} run=${run} />
        <p>
          <strong>Round ${living && run.current_round ? run.current_round : run.rounds_completed} of ${run.num_rounds}</strong>
          ${run.eta_seconds != null && living ? html`<span>about ${duration(run.eta_seconds)} left</span>` : null}
          <span>${run.dataset} · ${run.model} · ${run.strategy}</span>
          <span>updated <${Ago} ts=${run.updated_ts} /></span>
        </p>
      </div>
      <${RunActions} run=${run} />
    </div>
    ${snapshot?.clients.length ? html`<${Stars} clients=${snapshot.clients} run=${run} />` : null}
  </section>`;
}

function Detail({ snapshot }) {
  const { run, rejections, privacy, nodes } = snapshot;
  const slow = slowestClient(snapshot);
  const refused = run.updates_rejected;
  return html`
    <${Figures} label="Key figures">
      <${Figure} label="Accuracy" value=${percent(run.accuracy)} note=${run.best_accuracy != null ? `best ${percent(run.best_accuracy)} in round ${run.best_round}` : ""} />
      <${Figure} label="Loss" value=${decimal(run.loss)} />
      <${Figure} label="Updates accepted" value=${count(run.updates_accepted)} note=${`${bytes(run.bytes_received)} received`} />
      <${Figure} label="Refused" value=${count(refused)} note=${refused ? topReason(run) : "none"} tone=${refused ? "bad" : ""} />
      <${Figure} label="Late" value=${count(run.updates_late)} tone=${run.updates_late ? "warn" : ""} />
      <${Figure} label="Slowest client" value=${slow ? slow.client : "–"} note=${slow?.note ?? ""} />
      <${Figure} label="Privacy" value=${privacy ? `ε ${decimal(privacy.epsilon, 2)}` : "off"} note=${privacy ? `δ ${privacy.delta}` : "updates are not noised"} />
    </${Figures}>
    <${QualityCharts} runId=${run.run_id} snapshot=${snapshot} />
    <div class="grid-3">
      <${Card} title="Last refusals" aside=${refused ? html`<a href="/runs/${encodeURIComponent(run.run_id)}?tab=security">All refusals</a>` : null}>
        <${Rejections} rejections=${rejections} grouped=${3} />
      </${Card}>
      <${Card} title="Privacy budget"><${Privacy} privacy=${privacy} /></${Card}>
      <${Card} title="Nodes"><${NodesTable} nodes=${nodes} brief=${true} /></${Card}>
    </div>
  `;
}

function topReason(run) {
  const [reason, number] = Object.entries(run.rejections)[0] ?? [];
  return reason ? `${reason}${Object.keys(run.rejections).length > 1 ? ` ×${number}` : ""}` : "";
}
