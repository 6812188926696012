// A table that scrolls inside itself, sorts by its headings, and draws only the rows in sight when there are many.
import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../ui.js";

const WINDOW_FROM = 120; // rows from which only those in sight are drawn
const ROW_PX = 37;
const SPARE_ROWS = 12;

/**
 * columns: [{key, title, value?(row), draw?(row), numeric?, sortable?, head?}]; `sort` is a key, with "-" for falling.
 * `onSort` makes the caller sort (the server, or the URL); without it the table sorts by itself.
 */
export function DataTable({ label, columns, rows, keyOf, sort, onSort, rowClass, maxHeight, empty }) {
  const [own, setOwn] = useState(sort ?? "");
  const order = onSort ? sort : own;
  const shown = useMemo(() => (onSort ? rows : sorted(rows, columns, order)), [rows, columns, order, onSort]);
  const frame = useRef();
  const { first, last, watch } = useWindow(frame, shown.length);
  if (!shown.length && empty) return empty;
  const pick = (key) => {
    const falling = order === key ? `-${key}` : order === `-${key}` ? key : defaultOrder(columns, key);
    onSort ? onSort(falling) : setOwn(falling);
  };
  return html`<div
    class="table-frame ${maxHeight || shown.length > WINDOW_FROM ? "table-bounded" : ""}"
    ref=${frame}
    onScroll=${watch}
    tabindex="0"
    role="region"
    aria-label=${label}
  >
    <table class="table data-table" aria-rowcount=${shown.length + 1}>
      <thead>
        <tr>
          ${columns.map((column) => html`<${Heading} key=${column.key} column=${column} order=${order} pick=${pick} />`)}
        </tr>
      </thead>
      <tbody>
        ${first > 0 && html`<tr class="table-space" aria-hidden="true"><td colspan=${columns.length} style=${{ height: `${first * ROW_PX}px` }}></td></tr>`}
        ${shown.slice(first, last).map(
          (row, index) => html`<tr key=${keyOf(row)} class=${rowClass?.(row)} aria-rowindex=${first + index + 2}>
            ${columns.map((column) => cell(column, row))}
          </tr>`,
        )}
        ${last < shown.length &&
        html`<tr class="table-space" aria-hidden="true"><td colspan=${columns.length} style=${{ height: `${(shown.length - last) * ROW_PX}px` }}></td></tr>`}
      </tbody>
    </table>
  </div>`;
}

function cell(column, row) {
  const content = column.draw ? column.draw(row) : (column.value?.(row) ?? row[column.key] ?? "–");
  const style = `${column.numeric ? "num" : ""} ${column.class ?? ""}`;
  return column.head ? html`<th scope="row" class=${style}>${content}</th>` : html`<td class=${style}>${content}</td>`;
}

function Heading({ column, order, pick }) {
  const { key, title, numeric, hint } = column;
  const sortable = column.sortable !== false && title;
  const direction = order === key ? "ascending" : order === `-${key}` ? "descending" : undefined;
  if (!sortable) return html`<th scope="col" class=${numeric ? "num" : ""} title=${hint}>${title || html`<span class="visually-hidden">${column.spoken}</span>`}</th>`;
  return html`<th scope="col" class=${numeric ? "num" : ""} aria-sort=${direction}>
    <button type="button" class="sort" title=${hint} onClick=${() => pick(key)}>
      ${title}<span class="sort-mark" aria-hidden="true">${direction === "ascending" ? "↑" : direction === "descending" ? "↓" : ""}</span>
    </button>
  </th>`;
}

const defaultOrder = (columns, key) => (columns.find((column) => column.key === key)?.numeric ? `-${key}` : key);

export function sorted(rows, columns, order) {
  if (!order) return rows;
  const key = order.replace(/^-/, "");
  const column = columns.find((each) => each.key === key);
  if (!column) return rows;
  const value = column.value ?? ((row) => row[key]);
  const sign = order.startsWith("-") ? -1 : 1;
  return [...rows].sort((a, b) => {
    const [left, right] = [value(a), value(b)];
    if (left == null || right == null) return (left == null) - (right == null); // what is not known stands last
    if (typeof left === "number" && typeof right === "number") return sign * (left - right);
    return sign * String(left).localeCompare(String(right), "en", { numeric: true });
  });
}

function useWindow(frame, length) {
  const [range, setRange] = useState([0, WINDOW_FROM]);
  const many = length > WINDOW_FROM;
  const watch = () => {
    if (!many || !frame.current) return;
    const top = Math.floor(frame.current.scrollTop / ROW_PX);
    const rows = Math.ceil(frame.current.clientHeight / ROW_PX);
    const first = Math.max(0, Math.min(top, length - rows) - SPARE_ROWS);
    setRange((old) => (Math.abs(old[0] - first) < SPARE_ROWS / 2 && old[1] >= top + rows ? old : [first, top + rows + SPARE_ROWS]));
  };
  useLayoutEffect(watch, [length]);
  useEffect(() => {
    addEventListener("resize", watch);
    return () => removeEventListener("resize", watch);
  }, [length]);
  return many ? { first: Math.min(range[0], length), last: Math.min(length, range[1]), watch } : { first: 0, last: length, watch };
}
