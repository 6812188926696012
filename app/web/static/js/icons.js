// Small line icons, drawn here: 16 units, one stroke. Decoration beside words, so hidden from screen readers.
import { html } from "./ui.js";

const PATHS = {
  home: "M2.5 7.5 8 2.5l5.5 5M4 6.5v7h8v-7",
  list: "M2.5 4h11M2.5 8h11M2.5 12h11",
  plus: "M8 3v10M3 8h10",
  compare: "M2.5 12.5 6 7l3 3 4.5-6.5M2.5 4.5 6 9",
  events: "M1.5 8h3l2-5 3 10 2-5h3",
  cube: "M8 1.8 13.5 5v6L8 14.2 2.5 11V5ZM2.5 5 8 8.2 13.5 5M8 8.2v6",
  check: "m3 8.5 3.2 3.2L13 4.8",
  cross: "m4 4 8 8m0-8-8 8",
  clock: "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2Zm0 3v3.2l2.2 1.6",
  play: "M5 3.2v9.6L12.5 8Z",
  pause: "M5.2 3.5v9M10.8 3.5v9",
  stop: "M4 4h8v8H4Z",
  bolt: "M9 1.8 3.8 9H8l-1 5.2L12.2 7H8Z",
  dots: "M3.2 8h.01M8 8h.01M12.8 8h.01",
  dot: "M8 6.2a1.8 1.8 0 1 0 0 3.6 1.8 1.8 0 0 0 0-3.6Z",
  shield: "M8 1.8 13 3.6v4c0 3.2-2.2 5.4-5 6.6-2.8-1.2-5-3.4-5-6.6v-4Z",
  sun: "M8 5a3 3 0 1 0 0 6 3 3 0 0 0 0-6ZM8 1.2v1.6M8 13.2v1.6M1.2 8h1.6M13.2 8h1.6M3.2 3.2l1.1 1.1M11.7 11.7l1.1 1.1M12.8 3.2l-1.1 1.1M4.3 11.7l-1.1 1.1",
  moon: "M13.2 9.6A5.8 5.8 0 0 1 6.4 2.8a5.8 5.8 0 1 0 6.8 6.8Z",
  auto: "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2Zm0 0v12M8 4.5l3.5 1.2M8 8h4M8 11.5l3.5-1.2",
  help: "M5.8 6a2.3 2.3 0 1 1 3.3 2.1c-.8.4-1.1.8-1.1 1.6M8 12.4v.01",
  key: "M10.5 2.5a3 3 0 1 0 0 6 3 3 0 0 0 0-6ZM8.3 7.7 2.5 13.5M4.5 11.5l1.6 1.6",
  search: "M7 2.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9Zm3.3 7.8 3.2 3.2",
  table: "M2.5 3.5h11v9h-11ZM2.5 6.8h11M2.5 9.8h11M6.5 6.8v5.7",
  download: "M8 2.5v7.2m0 0L5 6.8m3 2.9 3-2.9M3 13h10",
  copy: "M5.5 5.5h8v8h-8ZM10.5 5.5v-3h-8v8h3",
  left: "M10 3.5 5.5 8l4.5 4.5",
  right: "M6 3.5 10.5 8 6 12.5",
  chart: "M2.5 2.5v11h11M5 10.5l2.5-3.5 2 2L13 4.5",
  image: "M2.5 3h11v10h-11Zm0 8L6 7.5l3 3 2-2 2.5 2.5",
  server: "M2.5 3h11v4h-11Zm0 6h11v4h-11ZM5 5h.01M5 11h.01",
  arrow: "M3 8h10m0 0L9.5 4.5M13 8l-3.5 3.5",
};

export function Icon({ name, size = 16 }) {
  return html`<svg class="icon" width=${size} height=${size} viewBox="0 0 16 16" aria-hidden="true" focusable="false">
    <path d=${PATHS[name] ?? PATHS.dot} />
  </svg>`;
}
