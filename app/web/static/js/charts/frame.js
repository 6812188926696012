// What every chart has: a title, what it shows in words, itself as a table, CSV and PNG.
import { Icon } from "../icons.js";
import { html, useState } from "../ui.js";
import { saveCsv } from "./export.js";

const PREVIEW_ROWS = 500;

/**
 * table(): {columns, rows} of what is drawn; png(): saves a picture; `legend` stands under the title.
 * The children are drawn inside an element with the role of an image, described by `describe`.
 */
export function ChartFrame({ title, describe, table, png, legend, tools, children, level = 2, class: extra = "", picture = true }) {
  const [asTable, setAsTable] = useState(false);
  const id = `chart-${title.toLowerCase().replaceAll(/\W+/g, "-")}`;
  return html`<section class="card-box chart ${extra}" aria-labelledby=${id}>
    <header class="card-head">
      <${level === 3 ? "h3" : "h2"} class="card-title" id=${id}>${title}</>
      <div class="card-aside">
        ${tools}
        <div class="chart-tools" role="group" aria-label="${title}: other forms">
          <button type="button" class="btn-plain" aria-pressed=${asTable} title="View as ${asTable ? "chart" : "table"}" aria-label="${title}: view as table" onClick=${() => setAsTable(!asTable)}>
            <${Icon} name=${asTable ? "chart" : "table"} size=${14} />
          </button>
          <button type="button" class="btn-plain" title="Download as CSV" aria-label="${title}: download as CSV" onClick=${() => saveCsv(title, table())}>
            <${Icon} name="download" size=${14} /><span>CSV</span>
          </button>
          ${png && html`<button type="button" class="btn-plain" title="Download as PNG" aria-label="${title}: download as PNG" onClick=${png}>
            <${Icon} name="image" size=${14} /><span>PNG</span>
          </button>`}
        </div>
      </div>
    </header>
    ${asTable
      ? html`<${AsTable} title=${title} table=${table()} />`
      : html`${legend}${picture ? html`<div class="chart-picture" role="img" aria-label=${describe}>${children}</div>` : children}`}
  </section>`;
}

const shown = (value) => (typeof value === "number" && !Number.isInteger(value) ? Number(value.toPrecision(5)) : (value ?? "–"));

function AsTable({ title, table }) {
  const rows = table.rows.slice(0, PREVIEW_ROWS);
  return html`<div class="table-frame table-bounded" tabindex="0" role="region" aria-label="${title}, as a table">
    <table class="table data-table">
      <thead><tr>${table.columns.map((name) => html`<th scope="col">${name}</th>`)}</tr></thead>
      <tbody>${rows.map((row, at) => html`<tr key=${at}>${row.map((value, index) => (index ? html`<td>${shown(value)}</td>` : html`<th scope="row">${shown(value)}</th>`))}</tr>`)}</tbody>
    </table>
    ${table.rows.length > PREVIEW_ROWS ? html`<p class="faint">The first ${PREVIEW_ROWS} of ${table.rows.length} rows; the CSV holds all.</p>` : null}
  </div>`;
}
