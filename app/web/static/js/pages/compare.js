// Runs beside each other: what differs in their settings, and their lines over rounds, time or bytes.
import { get } from "../api.js";
import { LineChart, shareRange } from "../charts/line.js";
import { Card, Empty, Failure, Pill, Skeleton } from "../components/bits.js";
import { RunsTable } from "../components/runs_table.js";
import { PageTitle } from "../components/title.js";
import { bytes, count, decimal, duration, epsilon, percent, short } from "../format.js";
import { setQuery, useQuery } from "../router.js";
import { newest, onRunsChanged } from "../runs_store.js";
import { useStore } from "../store.js";
import { html, useEffect, useMemo, useRef, useState } from "../ui.js";
import { RUN_STATES } from "../words.js";

const MOST = 8;
const AGAIN_MS = 2_000;
const AXES = [
  ["round", "Rounds", String],
  ["time", "Time", duration],
  ["bytes", "Bytes", bytes],
];

export default function Compare() {
  const [query] = useQuery();
  const ids = useMemo(() => [...new Set((query.ids ?? "").split(",").filter(Boolean))].slice(0, MOST), [query.ids]);
  const x = AXES.some(([name]) => name === query.x) ? query.x : "round";
  const { comparison, error, reload } = useComparison(ids, x);
  return html`
    <${PageTitle} title="Compare runs" />
    ${ids.length < 2 ? html`<${Empty} title=${ids.length ? "One more run" : "Choose two or more runs"} icon="compare"><p>Tick them below; the address then holds the comparison.</p></${Empty}>` : null}
    ${ids.length >= 2 && error ? html`<${Failure} error=${error} retry=${reload} />` : null}
    ${ids.length >= 2 && !comparison && !error ? html`<${Skeleton} tall=${true} />` : null}
    ${ids.length >= 2 && comparison ? html`<${Result} comparison=${comparison} x=${x} />` : null}
    <${Picker} ids=${ids} open=${ids.length < 2} />
  `;
}

function Result({ comparison, x }) {
  const { runs, changed } = comparison;
  const names = Object.fromEntries(runs.map((run, index) => [run.run_id, nameOf(run, index)]));
  const [, label, format] = AXES.find(([name]) => name === x);
  const lines = (series) => series.map((line) => ({ name: names[line.name] ?? line.name, points: line.points, place: runs.findIndex((run) => run.run_id === line.name), short: letterOf(runs.findIndex((run) => run.run_id === line.name)) }));
  const accuracy = useMemo(() => lines(comparison.accuracy), [comparison]);
  const loss = useMemo(() => lines(comparison.loss), [comparison]);
  return html`
    <div class="toolbar toolbar-slim">
      <div class="segments" role="group" aria-label="Horizontal axis">
        ${AXES.map(([name, title]) => html`<button key=${name} type="button" aria-pressed=${name === x} onClick=${() => setQuery({ x: name === "round" ? "" : name })}>${title}</button>`)}
      </div>
    </div>
    <div class="grid-2">
      <${LineChart} title="Accuracy" series=${accuracy} xLabel=${label.toLowerCase()} formatX=${format} formatY=${(value) => percent(value)} formatAxis=${(value) => percent(value, 0)} clamp=${shareRange} sync="compare-${x}" />
      <${LineChart} title="Loss" series=${loss} xLabel=${label.toLowerCase()} formatX=${format} formatY=${(value) => decimal(value)} formatAxis=${short} sync="compare-${x}" />
    </div>
    <${Card} title="Results"><${SideBySide} label="Results" runs=${runs} names=${names} rows=${RESULTS} /></${Card}>
    <${Card} title="Settings that differ">
      ${changed.length
        ? html`<${SideBySide} label="Settings" runs=${runs} names=${names} rows=${changed.map(({ key, values }) => [html`<code>${key}</code>`, (run) => shown(values[runs.indexOf(run)])])} />`
        : html`<${Empty} title="All settings are equal" icon="check"><p>The runs differ only in when they ran, and in what their clients did.</p></${Empty}>`}
    </${Card}>
  `;
}

const shown = (value) => (value === null || value === undefined ? html`<span class="faint">not set</span>` : value === "" ? html`<span class="faint">empty</span>` : String(value));
const letterOf = (index) => String.fromCharCode(65 + index);
const nameOf = (run, index) => `${letterOf(index)} · ${run.name || run.run_id}`;

const RESULTS = [
  ["State", (run) => html`<${Pill} of=${RUN_STATES} state=${run.state} small=${true} />`],
  ["Rounds", (run) => `${run.rounds_completed} / ${run.num_rounds}`],
  ["Accuracy", (run) => percent(run.accuracy), (run) => run.accuracy, 1],
  ["Best accuracy", (run) => html`${percent(run.best_accuracy)} <span class="faint">round ${run.best_round}</span>`, (run) => run.best_accuracy, 1],
  ["Loss", (run) => decimal(run.loss), (run) => run.loss, -1],
  ["Took", (run) => duration(run.seconds), (run) => run.seconds, -1],
  ["Received", (run) => bytes(run.bytes_received), (run) => run.bytes_received, -1],
  ["Refused", (run) => count(run.updates_rejected)],
  ["ε", (run) => (run.epsilon == null ? "off" : epsilon(run.epsilon))],
];

/** rows: [title, draw(run), value?(run), sign?]; with a value the best run's cell says so. */
function SideBySide({ label, runs, names, rows }) {
  return html`<div class="table-frame" tabindex="0" role="region" aria-label="${label} side by side">
    <table class="table data-table side-by-side">
      <thead><tr><th scope="col"><span class="visually-hidden">What</span></th>${runs.map((run, index) => html`<th key=${run.run_id} scope="col"><span class="swatch" style=${{ backgroundColor: `var(--series-${(index % 7) + 1})` }}></span> <a href="/runs/${encodeURIComponent(run.run_id)}">${names[run.run_id]}</a></th>`)}</tr></thead>
      <tbody>${rows.map(([title, draw, value, sign]) => {
        const known = value ? runs.map(value).filter((each) => each != null) : [];
        const best = known.length > 1 ? (sign > 0 ? Math.max(...known) : Math.min(...known)) : null;
        return html`<tr><th scope="row">${title}</th>${runs.map((run) => html`<td key=${run.run_id}>${draw(run)}${best !== null && value(run) === best && known.some((each) => each !== best) ? html` <span class="tag tone-good">best</span>` : null}</td>`)}</tr>`;
      })}</tbody>
    </table>
  </div>`;
}

function Picker({ ids, open }) {
  const { runs } = useStore(newest);
  const chosen = new Set(ids);
  const toggle = (id) => {
    const next = chosen.has(id) ? ids.filter((each) => each !== id) : [...ids, id].slice(-MOST);
    setQuery({ ids: next.join(",") });
  };
  if (!runs?.length) return runs ? html`<p class="hint">There is no run to compare yet: <a href="/runs/new">start one</a>.</p>` : null;
  return html`<details class="card-box card-flush picker" open=${open}>
    <summary>Choose runs <span class="faint">${ids.length} of at most ${MOST} chosen</span></summary>
    <${RunsTable} runs=${runs} plain=${true} select=${{ chosen, toggle }} />
    <p class="picker-more"><a href="/runs">Search all runs</a></p>
  </details>`;
}

function useComparison(ids, x) {
  const [answer, setAnswer] = useState({ comparison: null, error: null });
  const last = useRef(0);
  const wanted = ids.join(",");
  const load = async () => {
    if (ids.length < 2) return;
    last.current = Date.now();
    try {
      setAnswer({ comparison: await get("/runs/compare", { ids: wanted, x }), error: null });
    } catch (error) {
      setAnswer({ comparison: null, error });
    }
  };
  useEffect(() => {
    load();
    return onRunsChanged((changed) => {
      if (changed.some((run) => ids.includes(run.run_id)) && Date.now() - last.current > AGAIN_MS) load();
    });
  }, [wanted, x]);
  return { ...answer, reload: load };
}
