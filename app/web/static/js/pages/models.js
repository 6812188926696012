// Every model of every run, newest first.
import { get } from "../api.js";
import { Empty, Failure, Skeleton } from "../components/bits.js";
import { ModelsTable } from "../components/models_table.js";
import { PageTitle } from "../components/title.js";
import { useQuery } from "../router.js";
import { html, useEffect, useState } from "../ui.js";

const PAGE = 100;

export default function Models() {
  const [query, setQuery] = useQuery();
  const [list, setList] = useState({ models: null, cursor: null, error: null });
  const { run = "" } = query;
  const load = async (cursor) => {
    try {
      const page = await get("/models", { run, limit: PAGE, cursor });
      setList((old) => ({ models: cursor ? [...old.models, ...page.items] : page.items, cursor: page.next_cursor, error: null }));
    } catch (error) {
      setList((old) => ({ ...old, error }));
    }
  };
  useEffect(() => {
    load();
  }, [run]);
  const { models, cursor, error } = list;
  return html`
    <${PageTitle} title="Models" lead="Arrays only, as safetensors. A digest names the values: equal digests are equal models.">
      ${run ? html`<button type="button" class="btn btn-outline-secondary" onClick=${() => setQuery({ run: "" })}>Models of all runs</button>` : null}
    </${PageTitle}>
    ${error ? html`<${Failure} error=${error} retry=${() => load()} />` : null}
    ${!models && !error ? html`<${Skeleton} lines=${8} />` : null}
    ${models && !models.length ? html`<section class="card-box"><${Empty} title="No model yet" icon="cube"><p>A run records one model each round. <a href="/runs/new">Start a run</a>.</p></${Empty}></section>` : null}
    ${models?.length ? html`<div class="card-box card-flush"><${ModelsTable} models=${models} withRun=${true} /></div>` : null}
    ${cursor ? html`<div class="actions actions-center"><button type="button" class="btn btn-outline-secondary" onClick=${() => load(cursor)}>Show more</button></div>` : null}
  `;
}
