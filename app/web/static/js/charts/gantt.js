// Who worked when in one round. HTML, not SVG: its text keeps its size on a phone.
import { token } from "../colors.js";
import { duration } from "../format.js";
import { Icon } from "../icons.js";
import { html, useState } from "../ui.js";
import { UPDATE_STATES } from "../words.js";
import { barsCanvas, savePng } from "./export.js";
import { ChartFrame } from "./frame.js";
import { ganttRows } from "./gantt_rows.js";

const FIRST_ROWS = 24;
const SHAPES = { train: "Training", evaluate: "Evaluation" };

export function Gantt({ title, updates, seconds, tools, level }) {
  const [all, setAll] = useState(false);
  const { rows, span, median, slow } = ganttRows(updates, seconds);
  const shown = all ? rows : rows.slice(0, FIRST_ROWS);
  const table = () => ({
    columns: ["client", "phase", "state", "start (s)", "seconds", "compute seconds", "reason", "times the median"],
    rows: rows.flatMap(({ client, bars }) => bars.map((bar) => [client, bar.phase, bar.state, bar.start, bar.seconds, bar.compute, bar.reason, bar.factor])),
  });
  const png = () =>
    savePng(
      title,
      barsCanvas(rows.map(({ client, bars, total }) => ({ label: client, note: duration(total), segments: bars.map((bar) => ({ from: bar.start / span, to: (bar.start + bar.seconds) / span, color: token(`--bar-${bar.phase === "evaluate" && bar.state === "accepted" ? "evaluate" : bar.state}`) })) }))),
      LEGEND.map(([name, key]) => ({ name, color: token(`--bar-${key}`) })),
    );
  const legend = html`<div class="legend legend-static">
    ${LEGEND.map(([name, key]) => html`<span key=${key} class="legend-item"><span class="swatch bar-${key}"></span>${name}</span>`)}
    ${median && html`<span class="legend-item"><span class="swatch-line"></span>median ${duration(median)}</span>`}
  </div>`;
  if (!rows.length) return null;
  const describe = `${rows.length} clients, slowest first; median ${duration(median)}; ${slow.length ? `stragglers: ${slow.join(", ")}` : "no stragglers"}`;
  return html`<${ChartFrame} title=${title} describe=${describe} table=${table} png=${png} legend=${legend} tools=${tools} level=${level} picture=${false}>
    <p class="visually-hidden">${describe}</p>
    <ol class="gantt ${rows.length <= 12 ? "gantt-roomy" : ""}" aria-label="${title}: a line for each client">
      ${shown.map((row) => html`<${Row} key=${row.client} ...${row} span=${span} median=${median} />`)}
    </ol>
    <div class="gantt-axis" aria-hidden="true"><span>0 s</span><span>${duration(span / 2)}</span><span>${duration(span)}</span></div>
    ${rows.length > FIRST_ROWS && html`<button type="button" class="btn btn-sm btn-outline-secondary" onClick=${() => setAll(!all)}>
      ${all ? `Only the slowest ${FIRST_ROWS}` : `All ${rows.length} clients`}
    </button>`}
  </${ChartFrame}>`;
}

const LEGEND = [
  ["trained", "accepted"],
  ["evaluated", "evaluate"],
  ["waiting", "waiting"],
  ["refused", "rejected"],
  ["late", "late"],
];

function Row({ client, bars, total, span, median, straggles }) {
  const percent = (value) => `${((100 * value) / span).toFixed(3)}%`;
  return html`<li class="gantt-row">
    <span class="gantt-name" title=${client}>${client}</span>
    <span class="gantt-lane">
      ${median ? html`<span class="gantt-median" style=${{ left: percent(median) }}></span>` : null}
      ${bars.map(
        (bar) => html`<span
          key=${bar.phase}
          class="gantt-bar bar-${bar.phase === "evaluate" && bar.state === "accepted" ? "evaluate" : bar.state}"
          style=${{ left: percent(bar.start), width: percent(bar.seconds) }}
          title="${SHAPES[bar.phase] ?? bar.phase}: ${UPDATE_STATES[bar.state]?.label ?? bar.state}, ${duration(bar.seconds)}${bar.reason ? `, ${bar.reason}` : ""}"
        >${bar.state === "rejected" ? html`<${Icon} name="cross" size=${11} />` : bar.state === "late" ? html`<${Icon} name="clock" size=${11} />` : null}</span>`,
      )}
    </span>
    <span class="gantt-time">${duration(total)}${straggles ? html`<span class="tag tone-warn" title="Times the median of this phase">${straggles.toFixed(1)}×</span>` : null}</span>
  </li>`;
}
