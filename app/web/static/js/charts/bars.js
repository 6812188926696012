// Class counts a client, as stacked bars: length says how much data, parts say which classes.
import { classToken, token } from "../colors.js";
import { count } from "../format.js";
import { html, useState } from "../ui.js";
import { barsCanvas, savePng } from "./export.js";
import { ChartFrame } from "./frame.js";

const FIRST_ROWS = 16;
const sum = (values) => values.reduce((total, value) => total + value, 0);

/** histograms: {client: [examples of each class]}. */
export function ClassBars({ title, classNames, histograms, total, tools, level, busy }) {
  const [all, setAll] = useState(false);
  const rows = Object.entries(histograms).map(([client, counts]) => ({ client, counts, size: sum(counts) }));
  const most = Math.max(1, ...rows.map(({ size }) => size));
  const shown = all ? rows : rows.slice(0, FIRST_ROWS);
  const table = () => ({ columns: ["client", "examples", ...classNames.map((name) => `class ${name}`)], rows: rows.map(({ client, counts, size }) => [client, size, ...counts]) });
  const png = () => savePng(title, barsCanvas(rows.map(({ client, counts, size }) => ({ label: client, note: count(size), segments: segmentsOf(counts, most).map(({ from, to, index }) => ({ from, to, color: token(classToken(index)) })) }))), classNames.map((name, index) => ({ name, color: token(classToken(index)) })));
  const legend = html`<div class="legend legend-static" aria-hidden="true">
    ${classNames.slice(0, 20).map((name, index) => html`<span key=${index} class="legend-item"><span class="swatch ${index >= 10 ? "swatch-hatched" : ""}" style=${{ backgroundColor: `var(${classToken(index)})` }}></span>${name}</span>`)}
    ${classNames.length > 20 && html`<span class="legend-item">and ${classNames.length - 20} more</span>`}
  </div>`;
  const describe = `${rows.length} clients; from ${count(Math.min(...rows.map(({ size }) => size)))} to ${count(most)} examples each`;
  return html`<${ChartFrame} title=${title} describe=${describe} table=${table} png=${png} legend=${legend} tools=${tools} level=${level} class=${busy ? "is-busy" : ""} picture=${false}>
    <ol class="class-bars" aria-label=${describe}>
      ${shown.map(
        ({ client, counts, size }) => html`<li key=${client}>
          <span class="gantt-name" title=${client}>${client}</span>
          <span class="class-lane" aria-hidden="true">${segmentsOf(counts, most).map(
            ({ from, to, index, value }) => html`<span
              key=${index}
              class=${index >= 10 ? "swatch-hatched" : ""}
              style=${{ width: `${(100 * (to - from)).toFixed(3)}%`, backgroundColor: `var(${classToken(index)})` }}
              title="class ${classNames[index]}: ${count(value)}"
            ></span>`,
          )}</span>
          <span class="gantt-time">${count(size)}</span>
        </li>`,
      )}
    </ol>
    ${rows.length > FIRST_ROWS || total > rows.length
      ? html`<div class="actions">
          ${rows.length > FIRST_ROWS && html`<button type="button" class="btn btn-sm btn-outline-secondary" onClick=${() => setAll(!all)}>${all ? `Only the first ${FIRST_ROWS}` : `All ${rows.length} shown here`}</button>`}
          ${total > rows.length ? html`<span class="faint">${count(total)} clients in all</span>` : null}
        </div>`
      : null}
  </${ChartFrame}>`;
}

function segmentsOf(counts, most) {
  let from = 0;
  return counts.map((value, index) => {
    const segment = { from, to: from + value / most, index, value };
    from = segment.to;
    return segment;
  }).filter(({ value }) => value > 0);
}

/** The same for one client, as small as a word. */
export function MiniHistogram({ counts, classNames }) {
  if (!counts?.length) return html`<span class="faint">–</span>`;
  const most = Math.max(1, ...counts);
  const label = counts.map((value, index) => `${classNames?.[index] ?? index}: ${value}`).join(", ");
  return html`<span class="mini-bars" role="img" aria-label="Examples by class: ${label}" title=${label}>
    ${counts.slice(0, 24).map((value, index) => html`<span key=${index} style=${{ height: `${Math.max(4, (100 * value) / most)}%` }} class=${value ? "" : "none"}></span>`)}
  </span>`;
}
