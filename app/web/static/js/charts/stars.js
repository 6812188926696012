// The federation as a constellation: the server, its clients around it, each client's state as shape and brightness.
import { html } from "../ui.js";
import { standingText, standings, tallyOf } from "../standing.js";

const MOST_STARS = 72;
const SIZE = 240;
const CENTER = SIZE / 2;

/** Rings of at most 24; the golden angle keeps neighbours in the list apart on the sky. */
function placesOf(number) {
  const rings = Math.max(1, Math.ceil(number / 24));
  return Array.from({ length: number }, (_, index) => {
    const ring = index % rings;
    const onRing = Math.ceil((number - ring) / rings);
    const angle = (Math.floor(index / rings) / onRing) * 2 * Math.PI + ring * 0.4 - Math.PI / 2;
    const radius = 98 - ring * 26;
    return { x: CENTER + radius * Math.cos(angle), y: CENTER + radius * Math.sin(angle) };
  });
}

export function Stars({ clients: all, run }) {
  const clients = standings(all, run);
  const total = run.num_clients;
  const shown = clients.slice(0, MOST_STARS);
  const places = placesOf(shown.length);
  const tally = tallyOf(clients);
  const label = tally.map(([state, number]) => `${number} ${standingText(state, run)}`).join(", ");
  return html`<figure class="stars">
    <svg viewBox="0 0 ${SIZE} ${SIZE}" role="img" aria-label="${total} clients around the server: ${label}">
      ${[98, 72, 46].slice(0, Math.max(1, Math.ceil(shown.length / 24))).map((radius) => html`<circle class="orbit" cx=${CENTER} cy=${CENTER} r=${radius} />`)}
      ${shown.map(({ client, state }, index) => {
        const { x, y } = places[index];
        return html`<g key=${client} class="star star-${state}">
          <line x1=${CENTER} y1=${CENTER} x2=${x} y2=${y} />
          ${starShape(state, x, y, shown.length > 40 ? 3.6 : 5.2)}
          <title>${client}: ${standingText(state, run)}</title>
        </g>`;
      })}
      <g class="star-server ${run.phase ? "is-working" : ""}"><circle cx=${CENTER} cy=${CENTER} r="13" /><circle class="core" cx=${CENTER} cy=${CENTER} r="5.5" /></g>
    </svg>
    <figcaption class="legend legend-static">
      ${tally.map(([state, number]) => html`<span key=${state} class="legend-item star-key star-${state}">
        <svg width="14" height="14" viewBox="0 0 14 14" aria-hidden="true">${starShape(state, 7, 7, 4.4)}</svg>${number} ${standingText(state, run)}
      </span>`)}
      ${total > shown.length ? html`<span class="legend-item">${shown.length} of ${total} drawn</span>` : null}
    </figcaption>
  </figure>`;
}

function starShape(state, x, y, r) {
  if (state === "rejected") return html`<path class="blip-cross" d="M${x - r} ${y - r}L${x + r} ${y + r}M${x + r} ${y - r}L${x - r} ${y + r}" />`;
  if (state === "late") return html`<path class="blip" d="M${x} ${y - r * 1.25}L${x + r * 1.25} ${y}L${x} ${y + r * 1.25}L${x - r * 1.25} ${y}Z" />`;
  if (state === "idle") return html`<circle class="blip" cx=${x} cy=${y} r=${r * 0.62} />`;
  return html`<circle class="blip" cx=${x} cy=${y} r=${r} />`;
}
