// The privacy budget as a half ring. Without a budget there is nothing to fill: the number stands alone.
import { epsilon } from "../format.js";
import { html } from "../ui.js";

const RADIUS = 52;
const LENGTH = Math.PI * RADIUS;

export function PrivacyGauge({ privacy }) {
  const { epsilon: spent, target_epsilon: budget } = privacy;
  const part = budget ? Math.min(1, spent / budget) : 0;
  const tone = part >= 1 ? "bad" : part >= 0.8 ? "warn" : "good";
  const text = budget ? `ε ${epsilon(spent)} of ${epsilon(budget)} spent` : `ε ${epsilon(spent)}, no budget set`;
  return html`<figure class="gauge tone-${tone}">
    <svg viewBox="0 0 128 74" role="img" aria-label=${text}>
      <path class="gauge-track" d="M12 66A52 52 0 0 1 116 66" />
      ${budget ? html`<path class="gauge-fill" d="M12 66A52 52 0 0 1 116 66" style=${{ strokeDasharray: `${part * LENGTH} ${LENGTH}` }} />` : null}
    </svg>
    <figcaption>
      <span class="gauge-value">ε ${epsilon(spent)}</span>
      <span class="gauge-note">${budget ? `${Math.round(100 * part)}% of ${epsilon(budget)}${part >= 1 ? ", spent" : ""}` : "no budget set"}</span>
    </figcaption>
  </figure>`;
}
