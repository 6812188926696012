// The run's models: one a round, each made from the one before.
import { ModelsTable } from "../../components/models_table.js";
import { Empty } from "../../components/bits.js";
import { html } from "../../ui.js";

export default function Models({ snapshot }) {
  const { models } = snapshot;
  if (!models.length) return html`<section class="card-box"><${Empty} title="No model yet" icon="cube"><p>Each closed round records its global model; the last one can be downloaded as safetensors when the run has ended.</p></${Empty}></section>`;
  return html`<div class="card-box card-flush"><${ModelsTable} models=${models} /></div>`;
}
