// One run: its state and reason stay in sight, everything else is a tab.
import { RunActions } from "../components/actions.js";
import { Ago, Empty, Failure, Pill, Skeleton } from "../components/bits.js";
import { RoundsBar } from "../components/rounds_bar.js";
import { TabPanel, Tabs } from "../components/tabs.js";
import { count, decimal, duration, percent } from "../format.js";
import { Icon } from "../icons.js";
import { useQuery } from "../router.js";
import { useRun } from "../run_store.js";
import { LIVING } from "../living.js";
import { html, useEffect } from "../ui.js";
import { RUN_STATES } from "../words.js";
import { reasonOf } from "../reason.js";
import Clients from "./run/clients.js";
import Config from "./run/config.js";
import Logs from "./run/logs.js";
import Models from "./run/models.js";
import Rounds from "./run/rounds.js";
import Security from "./run/security.js";
import Summary from "./run/summary.js";
import System from "./run/system.js";

const TABS = [
  { name: "overview", title: "Overview", Tab: Summary },
  { name: "clients", title: "Clients", Tab: Clients, badge: ({ run }) => run.num_clients && count(run.num_clients) },
  { name: "rounds", title: "Rounds", Tab: Rounds, badge: ({ run }) => run.rounds_completed && count(run.rounds_completed) },
  { name: "security", title: "Security", Tab: Security, badge: ({ run }) => run.updates_rejected && count(run.updates_rejected), tone: "bad" },
  { name: "models", title: "Models", Tab: Models },
  { name: "system", title: "System", Tab: System },
  { name: "logs", title: "Logs", Tab: Logs },
  { name: "config", title: "Config", Tab: Config },
];

export default function Run({ params: [runId] }) {
  const { snapshot, error } = useRun(runId);
  const [query] = useQuery();
  const chosen = TABS.find(({ name }) => name === query.tab) ?? TABS[0];
  const name = snapshot?.run.name || runId;
  useEffect(() => {
    document.title = `${snapshot ? `${RUN_STATES[snapshot.run.state]?.label}: ` : ""}${name} · Constellation`;
  }, [name, snapshot?.run.state]);
  if (!snapshot) return html`<h1 class="page-title" tabindex="-1">${runId}</h1>${error ? html`<${Gone} error=${error} />` : html`<${Skeleton} tall=${true} />`}`;
  const tabs = TABS.map(({ badge, ...tab }) => ({ ...tab, badge: badge?.(snapshot) }));
  return html`
    <${Header} run=${snapshot.run} />
    <${Tabs} label="Parts of this run" tabs=${tabs} chosen=${chosen.name} />
    <${TabPanel} name=${chosen.name}><${chosen.Tab} snapshot=${snapshot} query=${query} /></${TabPanel}>
  `;
}

function Gone({ error }) {
  if (error.status !== 404) return html`<${Failure} error=${error} />`;
  return html`<section class="card-box"><${Empty} title="There is no such run" icon="search"><p>It may have been deleted, or it belongs to another output folder. See <a href="/runs">all runs</a>.</p></${Empty}></section>`;
}

function Header({ run }) {
  const living = LIVING.has(run.state);
  return html`<header class="run-head">
    <div class="run-head-main">
      <nav class="crumbs" aria-label="Breadcrumb"><a href="/runs">Runs</a> <span aria-hidden="true">/</span> <span>${run.run_id}</span></nav>
      <div class="run-head-line">
        <h1 class="page-title" tabindex="-1">${run.name || run.run_id}</h1>
        <${Pill} of=${RUN_STATES} state=${run.state} />
        ${run.desired_state !== "run" && run.state === "running" ? html`<span class="tag tone-warn">${run.desired_state === "pause" ? "pausing after this phase" : "stopping after this phase"}</span>` : null}
      </div>
      <p class="run-reason" role="status" data-reason>${reasonOf(run)}</p>
    </div>
    <div class="run-head-side">
      <dl class="run-facts">
        <div><dt>Round</dt><dd>${living && run.current_round ? run.current_round : run.rounds_completed} / ${run.num_rounds}</dd></div>
        <div><dt>Accuracy</dt><dd>${percent(run.accuracy)}</dd></div>
        <div><dt>Loss</dt><dd>${decimal(run.loss)}</dd></div>
        <div><dt>${living ? "Left" : "Took"}</dt><dd>${living ? (run.eta_seconds == null ? "–" : duration(run.eta_seconds)) : duration(run.seconds)}</dd></div>
      </dl>
      <div class="actions">
        <${RunActions} run=${run} />
        <a class="btn btn-sm btn-outline-secondary" href="/runs/new?from=${encodeURIComponent(run.run_id)}" title="A new run with these settings"><${Icon} name="copy" size=${14} />Again</a>
      </div>
    </div>
    <${RoundsBar} run=${run} />
    <p class="run-updated">${[run.dataset, run.model, run.strategy, run.engine].filter(Boolean).join(" · ")} · last event <${Ago} ts=${run.updated_ts} /></p>
  </header>`;
}
