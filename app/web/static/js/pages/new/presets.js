// Starting points, as radio buttons that look like cards.
import { html } from "../../ui.js";
import { titleCase } from "../../words.js";

export function Presets({ presets, draft }) {
  const all = [{ name: "", title: "Everything as `constellation demo` has it." }, ...presets];
  return html`<fieldset class="presets">
    <legend>Start from</legend>
    ${draft.from
      ? html`<label class="preset"><input type="radio" name="preset" checked=${true} readonly /><span><strong>As run</strong>${draft.from}</span></label>`
      : null}
    ${all.map(
      ({ name, title }) => html`<label key=${name} class="preset">
        <input type="radio" name="preset" checked=${!draft.from && draft.preset === name} onChange=${() => draft.choose(name)} />
        <span><strong>${name ? titleCase(name) : "Defaults"}</strong>${title.replaceAll("`", "")}</span>
      </label>`,
    )}
  </fieldset>`;
}
