// All runs: searched, filtered and sorted by the server, as the address says; two ticked ones are compared.
import { get } from "../api.js";
import { Empty, Failure, Skeleton } from "../components/bits.js";
import { RunsTable } from "../components/runs_table.js";
import { PageTitle } from "../components/title.js";
import { count } from "../format.js";
import { Icon } from "../icons.js";
import { mergeRuns } from "../merge.js";
import { navigate, useQuery } from "../router.js";
import { onRunsChanged } from "../runs_store.js";
import { html, useCallback, useEffect, useRef, useState } from "../ui.js";
import { RUN_STATES } from "../words.js";

const FIRST = 50; // as many as fit a tall screen: the page is there sooner
const PAGE = 100;
const TYPING_MS = 200;

export default function Runs() {
  const [query, setQuery] = useQuery();
  const { q = "", state = "", sort = "-created" } = query;
  const { runs, cursor, error, loading, more, reload } = useRunList({ q, state, sort });
  const [chosen, setChosen] = useState(new Set());
  const typing = useRef(0);
  const toggle = (id) => setChosen((old) => (old.has(id) ? new Set([...old].filter((each) => each !== id)) : new Set([...old, id])));
  const search = (event) => {
    const text = event.target.value;
    clearTimeout(typing.current);
    typing.current = setTimeout(() => setQuery({ q: text }), TYPING_MS);
  };
  const filtered = Boolean(q || state);
  return html`
    <${PageTitle} title="Runs"><a class="btn btn-primary" href="/runs/new"><${Icon} name="plus" />New run</a></${PageTitle}>
    <div class="toolbar" role="search">
      <label class="search"><span class="visually-hidden">Search runs by name, id or set-up</span><${Icon} name="search" />
        <input type="search" class="form-control" placeholder="Search name, id, data set, strategy" value=${q} onInput=${search} />
      </label>
      <label><span class="visually-hidden">State</span>
        <select class="form-select" value=${state} onChange=${(event) => setQuery({ state: event.target.value })}>
          <option value="">All states</option>
          ${Object.entries(RUN_STATES).map(([name, { label }]) => html`<option key=${name} value=${name} selected=${name === state}>${label}</option>`)}
        </select>
      </label>
      <span class="toolbar-note" role="status">${runs ? `${count(runs.length)}${cursor ? " or more" : ""} ${runs.length === 1 ? "run" : "runs"}` : ""}</span>
      <${CompareBar} chosen=${chosen} clear=${() => setChosen(new Set())} />
    </div>
    ${error ? html`<${Failure} error=${error} retry=${reload} />` : null}
    ${!runs && !error ? html`<${Skeleton} lines=${8} />` : null}
    ${runs && !runs.length
      ? html`<section class="card-box"><${Empty} title=${filtered ? "No run matches" : "No run yet"} icon=${filtered ? "search" : "play"}>
          ${filtered ? html`<button type="button" class="btn btn-outline-secondary" onClick=${() => setQuery({ q: "", state: "" })}>Clear search and filter</button>` : html`<p><a href="/runs/new">Start a run</a>, or type <code>python run_demo.py</code> in a terminal.</p>`}
        </${Empty}></section>`
      : null}
    ${runs?.length ? html`<div class="card-box card-flush"><${RunsTable} runs=${runs} select=${{ chosen, toggle }} sort=${sort} onSort=${(order) => setQuery({ sort: order === "-created" ? "" : order })} /></div>` : null}
    ${cursor ? html`<div class="actions actions-center"><button type="button" class="btn btn-outline-secondary" disabled=${loading} onClick=${more}>${loading ? "Loading …" : `Show ${PAGE} more`}</button></div>` : null}
  `;
}

function CompareBar({ chosen, clear }) {
  if (!chosen.size) return html`<span class="toolbar-note wide-only">Tick two runs to compare them</span>`;
  const go = () => navigate(`/compare?ids=${[...chosen].map(encodeURIComponent).join(",")}`);
  return html`<span class="actions">
    <button type="button" class="btn btn-sm btn-primary" disabled=${chosen.size < 2} onClick=${go}><${Icon} name="compare" />Compare ${chosen.size}</button>
    <button type="button" class="btn btn-sm btn-outline-secondary" onClick=${clear}>Clear</button>
  </span>`;
}

function useRunList({ q, state, sort }) {
  const [list, setList] = useState({ runs: null, cursor: null, error: null });
  const [loading, setLoading] = useState(false);
  const wanted = JSON.stringify([q, state, sort]);
  const latest = useRef(wanted);
  latest.current = wanted;
  const load = useCallback(
    async (cursor) => {
      setLoading(true);
      try {
        const page = await get("/runs", { q, state, sort, limit: cursor ? PAGE : FIRST, cursor });
        if (latest.current !== wanted) return; // somebody typed on
        setList((old) => ({ runs: cursor ? [...old.runs, ...page.items] : page.items, cursor: page.next_cursor, error: null }));
      } catch (error) {
        setList((old) => ({ ...old, error }));
      } finally {
        setLoading(false);
      }
    },
    [wanted],
  );
  useEffect(() => {
    load();
  }, [load]);
  useEffect(
    () =>
      onRunsChanged((changed) => {
        // A run that this list does not hold may belong into it: only the server knows where.
        setList((old) => {
          if (!old.runs) return old;
          const held = new Set(old.runs.map((run) => run.run_id));
          if (!old.cursor && changed.some((run) => !held.has(run.run_id))) load();
          return { ...old, runs: mergeRuns(old.runs, changed, false) };
        });
      }),
    [load],
  );
  return { ...list, loading, more: () => load(list.cursor), reload: () => load() };
}
