// A new run: settings in groups, checked by the server as they are typed, with what they mean drawn beside them.
import { post } from "../api.js";
import { Empty, Failure, ReadOnlyHint, Skeleton } from "../components/bits.js";
import { PageTitle } from "../components/title.js";
import { useChoices } from "../choices_store.js";
import { say } from "../dialog.js";
import { Icon } from "../icons.js";
import { info, maySteer } from "../info.js";
import { navigate } from "../router.js";
import { useStore } from "../store.js";
import { html, useState } from "../ui.js";
import { Group } from "./new/group.js";
import { Presets } from "./new/presets.js";
import { Preview } from "./new/preview.js";
import { useCheck } from "./new/check.js";
import { useDraft } from "./new/draft.js";

export default function NewRun() {
  const { choices, error, retry } = useChoices();
  const lead = "Choose a preset or set what you like. Everything you change is in the address.";
  if (error) return html`<${PageTitle} title="New run" /><${Failure} error=${error} retry=${retry} />`;
  if (!choices) return html`<${PageTitle} title="New run" lead=${lead} /><${Skeleton} tall=${true} />`;
  return html`<${PageTitle} title="New run" lead=${lead} /><${Form} choices=${choices} />`;
}

function Form({ choices }) {
  const draft = useDraft(choices);
  const steer = maySteer(useStore(info));
  const check = useCheck(draft.config, steer === true);
  const [name, setName] = useState("");
  const [busy, setBusy] = useState(false);
  const [refused, setRefused] = useState(null);
  const errors = { ...(refused?.fields ?? {}), ...check.errors };
  const start = async (event) => {
    event.preventDefault();
    setBusy(true);
    setRefused(null);
    try {
      const run = await post("/runs", { config: draft.config, name: name.trim(), start: true });
      say("The run starts.");
      navigate(`/runs/${encodeURIComponent(run.run_id)}`);
    } catch (error) {
      setRefused(error);
      setBusy(false);
      focusFirst(error.fields);
    }
  };
  const set = (key, value) => {
    setRefused(null);
    draft.set(key, value);
  };
  return html`<form class="new-run" onSubmit=${start} noValidate>
    <div class="stack">
      <${Presets} presets=${choices.presets} draft=${draft} />
      ${draft.error ? html`<${Failure} error=${draft.error} />` : null}
      ${choices.groups.map((group, index) => html`<${Group} key=${group.title} group=${group} open=${index < 3} choices=${choices} draft=${draft} set=${set} errors=${errors} />`)}
    </div>
    <div class="stack new-side">
      <section class="card-box start-box" aria-label="Start">
        <label class="form-label" for="run-name">Name <span class="faint">optional</span></label>
        <input id="run-name" class="form-control" maxlength="100" placeholder="what it is for" value=${name} onInput=${(event) => setName(event.target.value)} />
        ${refused && !Object.keys(refused.fields).length ? html`<${Failure} error=${refused} />` : null}
        ${Object.keys(errors).length ? html`<p class="hint tone-bad" role="alert"><${Icon} name="cross" /><span>${Object.keys(errors).join(", ")}: ${Object.values(errors)[0]}</span></p>` : null}
        ${check.warnings.map((text) => html`<p key=${text} class="hint tone-warn"><${Icon} name="shield" /><span>${text}</span></p>`)}
        ${steer === false
          ? html`<${ReadOnlyHint} action="To start it here" />`
          : html`<button class="btn btn-primary" disabled=${busy || steer === null || Object.keys(errors).length > 0}><${Icon} name="play" />${busy ? "Starting …" : "Start run"}</button>`}
      </section>
      ${steer ? html`<${Preview} config=${draft.config} check=${check} />` : null}
      ${steer === false ? html`<section class="card-box"><${Empty} title="What these settings mean" icon="chart"><p>Signed in, you see here how the real labels are split over the clients, what privacy would cost, and the same run as a command and as TOML.</p></${Empty}></section>` : null}
    </div>
  </form>`;
}

function focusFirst(fields) {
  const key = Object.keys(fields ?? {})[0];
  if (key) document.getElementById(`field-${key}`)?.focus();
}
