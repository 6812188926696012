// One group of settings. What a field looks like follows from its default: choices, a switch, a number or a text.
import { html, useState } from "../../ui.js";

export function Group({ group, open, choices, draft, set, errors }) {
  const changed = group.keys.filter(draft.isChanged).length;
  const wrong = group.keys.some((key) => key in errors);
  return html`<details class="card-box group" open=${open || wrong || undefined}>
    <summary><h2 class="card-title">${group.title}</h2>${changed ? html`<span class="tag tone-info">${changed} changed</span>` : null}${wrong ? html`<span class="tag tone-bad">look here</span>` : null}</summary>
    <div class="fields">
      ${group.keys.map((key) => html`<${Field} key=${key} ...${{ name: key, choices, draft, set, error: errors[key] }} />`)}
    </div>
  </details>`;
}

function Field({ name, choices, draft, set, error }) {
  const value = draft.config[name];
  const usual = choices.usual_ranges[name];
  const help = choices.help[name] ?? "";
  const id = `field-${name}`;
  const described = [help || usual ? `${id}-help` : "", error ? `${id}-error` : ""].filter(Boolean).join(" ") || undefined;
  const common = { id, "aria-describedby": described, "aria-invalid": error ? "true" : undefined };
  const control = controlOf({ name, value, choices, set, common, error });
  const isSwitch = typeof choices.defaults[name] === "boolean";
  return html`<div class="field ${isSwitch ? "field-switch" : ""} ${draft.isChanged(name) ? "is-changed" : ""}">
    <label for=${id}>${name}${draft.isChanged(name) ? html`<span class="visually-hidden"> (changed)</span>` : null}</label>
    ${control}
    ${error ? html`<p class="field-error" id="${id}-error">${error}</p>` : null}
    ${help || usual ? html`<p class="field-help" id="${id}-help">${help}${usual ? html` <span class="usual">usual: ${usual[0]}–${usual[1]}</span>` : null}</p>` : null}
  </div>`;
}

function controlOf({ name, value, choices, set, common, error }) {
  const fallback = choices.defaults[name];
  const options = choices.choices[name];
  const wrong = error ? "is-invalid" : "";
  if (typeof fallback === "boolean") {
    return html`<input ...${common} type="checkbox" class="form-check-input" checked=${value} onChange=${(event) => set(name, event.target.checked)} />`;
  }
  if (options && name !== "attack") return html`<${Choice} ...${{ name, value, options, choices, set, common, wrong }} />`;
  const number = typeof fallback === "number";
  const change = (event) => set(name, number ? asNumber(event.target.value) : event.target.value);
  return html`<input ...${common} type="text" inputmode=${number ? "decimal" : undefined} class="form-control ${wrong}" value=${value} spellcheck="false" autocomplete="off" onInput=${change} />`;
}

/** A list to choose from; where the setting also takes names of one's own, its last entry opens a field for them. */
function Choice({ name, value, options, choices, set, common, wrong }) {
  const own = /pkg\.mod/.test(choices.help[name] ?? "");
  const [typing, setTyping] = useState(false);
  if (own && (typing || !options.includes(value))) {
    return html`<div class="own-name">
      <input ...${common} type="text" class="form-control ${wrong}" value=${value} placeholder="pkg.mod:attr" spellcheck="false" autocomplete="off" onInput=${(event) => set(name, event.target.value)} />
      <button type="button" class="btn btn-sm btn-outline-secondary" onClick=${() => (setTyping(false), set(name, choices.defaults[name]))}>List</button>
    </div>`;
  }
  const pick = (event) => (event.target.value === OWN ? setTyping(true) : set(name, event.target.value));
  return html`<select ...${common} class="form-select ${wrong}" onChange=${pick}>
    ${options.map((option) => html`<option key=${option} value=${option} selected=${option === value}>${option === "" ? "(the strategy's own)" : option}</option>`)}
    ${own ? html`<option value=${OWN}>your own …</option>` : null}
  </select>`;
}

const OWN = "\u0000own";
const asNumber = (text) => (text.trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : text);
