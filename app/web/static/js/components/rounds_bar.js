// Rounds done, under way and to come, as one bar of segments.
import { html } from "../ui.js";

const MOST_SEGMENTS = 60;

export function RoundsBar({ run }) {
  const { num_rounds: total, rounds_completed: done, current_round: current } = run;
  if (!total) return null;
  const label = `${done} of ${total} rounds completed`;
  const living = ["running", "paused", "stopping"].includes(run.state);
  if (total > MOST_SEGMENTS) {
    return html`<div class="rounds-bar rounds-bar-whole" role="img" aria-label=${label}>
      <span class="done" style=${{ width: `${(100 * done) / total}%` }}></span>
    </div>`;
  }
  return html`<div class="rounds-bar" role="img" aria-label=${label}>
    ${Array.from({ length: total }, (_, index) => {
      const round = index + 1;
      const state = round <= done ? "done" : round === current && living ? "now" : "";
      return html`<span key=${round} class=${state}></span>`;
    })}
  </div>`;
}
