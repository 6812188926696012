// Models with where they come from; a digest names the arrays, so equal digests are equal models.
import { get, href } from "../api.js";
import { bytes, decimal, digest, percent } from "../format.js";
import { Icon } from "../icons.js";
import { html, useState } from "../ui.js";
import { Ago, CopyButton, Failure, Skeleton } from "./bits.js";
import { DataTable } from "./table.js";

export function ModelsTable({ models, withRun }) {
  const [open, setOpen] = useState(null);
  const columns = [
    { key: "digest", title: "Model", head: true, sortable: false, draw: (model) => html`<code title=${model.digest}>${digest(model.digest)}</code>` },
    ...(withRun ? [{ key: "run_id", title: "Run", draw: (model) => html`<a href="/runs/${encodeURIComponent(model.run_id)}?tab=models">${model.run_id}</a>` }] : []),
    { key: "server_round", title: "Round", numeric: true },
    { key: "accuracy", title: "Accuracy", numeric: true, draw: (model) => percent(model.accuracy) },
    { key: "loss", title: "Loss", numeric: true, draw: (model) => decimal(model.loss) },
    { key: "parent", title: "Made from", sortable: false, draw: (model) => (model.parent ? html`<button type="button" class="link" title="Show the models it was made from" onClick=${() => setOpen(model)}><code>${digest(model.parent)}</code></button>` : html`<span class="faint">nothing: the first</span>`) },
    { key: "size_bytes", title: "Size", numeric: true, draw: (model) => (model.size_bytes == null ? html`<span class="faint">not kept</span>` : bytes(model.size_bytes)) },
    { key: "created_ts", title: "Made", numeric: true, draw: (model) => html`<${Ago} ts=${model.created_ts} step=${30000} />` },
    {
      key: "download",
      title: "",
      spoken: "Download",
      sortable: false,
      draw: (model) => (model.size_bytes == null ? null : html`<a class="btn btn-sm btn-outline-secondary" href=${href(`/models/${model.digest}/download`)} download><${Icon} name="download" size=${14} />safetensors<span class="visually-hidden"> of model ${digest(model.digest)}</span></a>`),
    },
  ];
  return html`<${DataTable} label="Models" columns=${columns} rows=${models} keyOf=${(model) => `${model.run_id}/${model.server_round}/${model.digest}`} maxHeight=${models.length > 14} />
    ${open ? html`<${Lineage} key=${open.digest} model=${open} close=${() => setOpen(null)} />` : null}`;
}

function Lineage({ model, close }) {
  const [answer, setAnswer] = useState(null);
  if (answer === null) {
    get(`/models/${model.digest}/lineage`).then(
      (found) => setAnswer({ models: found.items ?? found }),
      (error) => setAnswer({ error }),
    );
    return html`<${Skeleton} />`;
  }
  return html`<section class="lineage" aria-labelledby="lineage-title">
    <header class="card-head"><h2 class="card-title" id="lineage-title">Lineage of ${digest(model.digest)}</h2>
      <div class="card-aside"><${CopyButton} text=${model.digest} label="Copy digest" /><button type="button" class="btn-plain" onClick=${close}>Close</button></div></header>
    ${answer.error ? html`<${Failure} error=${answer.error} />` : html`<ol class="lineage-list">
      ${answer.models.map((each) => html`<li key=${`${each.run_id}/${each.server_round}`}><code>${digest(each.digest)}</code><span>round ${each.server_round}</span><span>${percent(each.accuracy)}</span></li>`)}
    </ol>`}
  </section>`;
}
