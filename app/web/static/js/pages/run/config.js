// The run's settings, those that differ from the defaults first; the same as TOML and as a command.
import { get } from "../../api.js";
import { Code, Failure, Skeleton } from "../../components/bits.js";
import { useChoices } from "../../choices_store.js";
import { html, useEffect, useState } from "../../ui.js";

const shown = (value) => (value === "" ? html`<span class="faint">empty</span>` : String(value));

export default function Config({ snapshot }) {
  const { choices } = useChoices();
  const [answer, setAnswer] = useState(null);
  useEffect(() => {
    let gone = false;
    get(`/runs/${encodeURIComponent(snapshot.run.run_id)}/config`).then(
      (found) => gone || setAnswer(found),
      (error) => gone || setAnswer({ error }),
    );
    return () => (gone = true);
  }, [snapshot.run.run_id]);
  const config = snapshot.config;
  const defaults = choices?.defaults ?? {};
  const changed = Object.keys(config).filter((key) => key in defaults && defaults[key] !== config[key]);
  const rest = Object.keys(config).filter((key) => !changed.includes(key));
  return html`<div class="grid-2 grid-wide-left">
    <div class="card-box card-flush">
      <h2 class="visually-hidden">Settings</h2>
      <div class="table-frame" tabindex="0" role="region" aria-label="Settings">
        <table class="table data-table config-table">
          <thead><tr><th scope="col">Setting</th><th scope="col">Value</th><th scope="col">Default</th></tr></thead>
          <tbody>
            ${changed.map((key) => html`<tr key=${key} class="is-changed"><th scope="row" title=${choices?.help[key]}><code>${key}</code> <span class="tag tone-info">changed</span></th><td>${shown(config[key])}</td><td class="faint">${shown(defaults[key])}</td></tr>`)}
            ${rest.map((key) => html`<tr key=${key}><th scope="row" title=${choices?.help[key]}><code>${key}</code></th><td>${shown(config[key])}</td><td class="faint">${key in defaults ? "the same" : "–"}</td></tr>`)}
          </tbody>
        </table>
      </div>
    </div>
    <div class="stack">
      ${!answer ? html`<${Skeleton} lines=${6} />` : answer.error ? html`<${Failure} error=${answer.error} />` : html`<${Code} label="As a command" text=${answer.command} /><${Code} label="As TOML" text=${answer.toml} />`}
    </div>
  </div>`;
}
