// A run's accuracy at a glance: an SVG without axes, since the number stands beside it.
import { percent } from "../format.js";
import { html } from "../ui.js";

const WIDTH = 84;
const HEIGHT = 22;

export function Sparkline({ points }) {
  if (!points?.length) return html`<span class="faint">–</span>`;
  const low = Math.min(...points);
  const span = Math.max(...points) - low || 1;
  const x = (index) => 2 + (index / Math.max(1, points.length - 1)) * (WIDTH - 6);
  const y = (value) => HEIGHT - 3 - ((value - low) / span) * (HEIGHT - 6);
  const path = points.map((value, index) => `${index ? "L" : "M"}${x(index).toFixed(1)} ${y(value).toFixed(1)}`).join("");
  const last = points.length - 1;
  return html`<svg class="spark" width=${WIDTH} height=${HEIGHT} viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="accuracy from ${percent(points[0])} to ${percent(points[last])}">
    <path d=${path} />
    <circle cx=${x(last)} cy=${y(points[last])} r="2.2" />
  </svg>`;
}
