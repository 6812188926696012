// What can be asked of a run now: the server says which, this asks.
import { ask, say } from "../dialog.js";
import { Icon } from "../icons.js";
import { info, maySteer } from "../info.js";
import { act } from "../run_store.js";
import { useStore } from "../store.js";
import { html, useState } from "../ui.js";
import { ReadOnlyHint } from "./bits.js";

const ACTIONS = {
  start: { label: "Start", icon: "play", style: "btn-primary" },
  resume: { label: "Resume", icon: "play", style: "btn-primary" },
  pause: { label: "Pause", icon: "pause", style: "btn-outline-secondary" },
  stop: { label: "Stop", icon: "stop", style: "btn-stop" },
};

export function RunActions({ run }) {
  const allowed = maySteer(useStore(info));
  const [busy, setBusy] = useState("");
  if (!run.actions.length || allowed === null) return null;
  if (!allowed) return html`<${ReadOnlyHint} action="To pause, resume or stop it" />`;
  // Two names for going on again would only be a puzzle.
  const offered = run.actions.filter((action) => action !== "start" || !run.actions.includes("resume"));
  const perform = async (action) => {
    if (action === "stop" && !(await ask(stopQuestion(run)))) return;
    setBusy(action);
    try {
      await act(run.run_id, action);
    } catch (error) {
      say(error.message, "bad");
    }
    setBusy("");
  };
  return html`<div class="actions" role="group" aria-label="Steer this run">
    ${offered.map((action) => {
      const { label, icon, style } = ACTIONS[action];
      return html`<button key=${action} type="button" class="btn btn-sm ${style}" disabled=${busy !== ""} onClick=${() => perform(action)}>
        <${Icon} name=${icon} size=${14} />${busy === action ? `${label} …` : label}
      </button>`;
    })}
  </div>`;
}

function stopQuestion(run) {
  return {
    title: "Stop this run?",
    text: `It ends after the phase under way; ${run.rounds_completed} of ${run.num_rounds} rounds and their model stay, and it can be resumed later.`,
    confirm: "Stop the run",
    danger: true,
  };
}
