// A chart leaves the page as CSV or PNG, made in the browser from what it shows.
import { token } from "../colors.js";
import { say } from "../dialog.js";

const cellOf = (value) => {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return String(value);
  let text = String(value);
  if (/^[=+\-@\t\r]/.test(text)) text = `'${text}`; // a spreadsheet must not run a client's name as a formula
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};

export function toCsv({ columns, rows }) {
  return [columns, ...rows].map((row) => row.map(cellOf).join(",")).join("\r\n") + "\r\n";
}

const fileName = (title) => title.toLowerCase().replaceAll(/[^a-z0-9]+/g, "-").replaceAll(/^-|-$/g, "") || "chart";

export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

export function saveCsv(title, table) {
  save(new Blob([toCsv(table)], { type: "text/csv" }), `${fileName(title)}.csv`);
}

const PAD = 16;
const HEAD = 40;

/** Put a chart's canvas under its title and over its legend, on the page's background. */
export function savePng(title, drawing, legend = []) {
  const ratio = devicePixelRatio || 1;
  const width = Math.max(360, drawing.width / ratio);
  const lines = legendLines(legend, width);
  const height = drawing.height / ratio + HEAD + PAD + lines.length * 20;
  const canvas = document.createElement("canvas");
  canvas.width = (width + 2 * PAD) * ratio;
  canvas.height = height * ratio;
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  pen.fillStyle = token("--surface");
  pen.fillRect(0, 0, width + 2 * PAD, height);
  pen.fillStyle = token("--text");
  pen.font = "600 15px Inter, sans-serif";
  pen.fillText(title, PAD, 26);
  pen.drawImage(drawing, PAD, HEAD, drawing.width / ratio, drawing.height / ratio);
  pen.font = "12px Inter, sans-serif";
  lines.forEach((line, index) => {
    const y = HEAD + drawing.height / ratio + 16 + index * 20;
    for (const { x, color, name } of line) {
      pen.fillStyle = color;
      pen.fillRect(PAD + x, y - 5, 14, 4);
      pen.fillStyle = token("--text");
      pen.fillText(name, PAD + x + 20, y);
    }
  });
  canvas.toBlob((blob) => (blob ? save(blob, `${fileName(title)}.png`) : say("The picture could not be made.", "bad")), "image/png");
}

function legendLines(legend, width) {
  const pen = document.createElement("canvas").getContext("2d");
  pen.font = "12px Inter, sans-serif";
  const lines = [];
  let x = Infinity;
  for (const { color, name } of legend) {
    const needed = 20 + pen.measureText(name).width + 18;
    if (x + needed > width) {
      lines.push([]);
      x = 0;
    }
    lines.at(-1).push({ x, color, name });
    x += needed;
  }
  return lines;
}

const BAR_ROW = 22;
const BAR_LABEL = 110;

/** Draw rows of bars, as HTML charts show them, on a canvas. segments: [{from, to, color}], 0..1. */
export function barsCanvas(rows) {
  const ratio = devicePixelRatio || 1;
  const width = 760;
  const canvas = document.createElement("canvas");
  canvas.width = width * ratio;
  canvas.height = Math.max(1, rows.length) * BAR_ROW * ratio;
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  pen.font = "12px Inter, sans-serif";
  rows.forEach(({ label, segments, note }, index) => {
    const y = index * BAR_ROW;
    pen.fillStyle = token("--text");
    pen.fillText(label.slice(0, 18), 0, y + 15);
    for (const { from, to, color } of segments) {
      pen.fillStyle = color;
      pen.fillRect(BAR_LABEL + from * (width - BAR_LABEL - 90), y + 4, Math.max(1, (to - from) * (width - BAR_LABEL - 90) - 1), 14);
    }
    pen.fillStyle = token("--muted");
    if (note) pen.fillText(note, width - 84, y + 15);
  });
  return canvas;
}
