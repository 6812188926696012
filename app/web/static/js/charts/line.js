// Lines over rounds, time or bytes: uPlot on a canvas, with a legend of our own that shows values without hovering.
import { lineOf, token } from "../colors.js";
import { html, useEffect, useMemo, useRef, useState } from "../ui.js";
import { useTheme } from "../components/shell.js";
import { align, valueAt } from "./columns.js";
import { savePng } from "./export.js";
import { ChartFrame } from "./frame.js";

const HEIGHT = 232;
const NARROW_HEIGHT = 200;
const AXIS_FONT = "11px Inter, sans-serif";
const END_LABEL_PX = 12;

/**
 * series: [{name, points: [[x, y]], place? | token?, main?, short?}]; band: {name, points: [[x, low, middle, high]]}.
 * `place` is a client's place in the palette, `main` the line to look at first, `short` its label at the line's end.
 */
export function LineChart({ title, series, band, xLabel = "round", formatX = String, formatY = String, formatAxis = formatY, clamp, sync, level, empty, tools, height = HEIGHT }) {
  const [hidden, setHidden] = useState(new Set());
  const [hover, setHover] = useState(null);
  const lines = useMemo(() => series.map((line) => ({ ...line, ...styleOf(line) })), [series]);
  const all = band ? [...lines, bandLine(band)] : lines;
  const plot = useRef(null);
  const table = () => tableOf(xLabel, lines, band);
  const points = lines.some(({ points: each }) => each.length);
  const toggle = (name) => setHidden((old) => (old.has(name) ? new Set([...old].filter((each) => each !== name)) : new Set([...old, name])));
  const png = () => savePng(title, plot.current.ctx.canvas, all.filter(({ name }) => !hidden.has(name)).map(({ name, token: color }) => ({ name, color: token(color) })));
  if (!points && empty) return empty;
  const legend = html`<${Legend} lines=${all} hidden=${hidden} toggle=${toggle} hover=${hover} formatX=${formatX} formatY=${formatY} xLabel=${xLabel} />`;
  return html`<${ChartFrame} title=${title} describe=${describe(title, lines, band, xLabel, formatX, formatY)} table=${table} png=${png} legend=${legend} level=${level} tools=${tools}>
    <${Plot} ...${{ lines, band, hidden, xLabel, formatX, formatAxis, clamp, sync, plot, setHover, height }} />
  </${ChartFrame}>`;
}

function styleOf({ place, token: own, main }) {
  const { token: color, dash } = place === undefined ? { token: own ?? "--accent-line", dash: [] } : lineOf(place);
  return { token: color, dash, width: main ? 2.5 : 1.5 };
}

const bandLine = ({ name, points }) => ({ name, points: points.map(([x, , middle]) => [x, middle]), token: "--band-line", dash: [4, 3], isBand: true });

function Legend({ lines, hidden, toggle, hover, formatX, formatY, xLabel }) {
  return html`<div class="legend">
    ${lines.map(({ name, points, token: color, dash, main, isBand }) => {
      const value = hover === null ? (points.at(-1)?.[1] ?? null) : valueAt(points, hover);
      return html`<button key=${name} type="button" class="legend-item ${main ? "legend-main" : ""}" aria-pressed=${!hidden.has(name)} onClick=${() => toggle(name)} title="Show or hide ${name}">
        <svg width="18" height="10" aria-hidden="true">
          ${isBand && html`<rect x="0" y="1" width="18" height="8" rx="2" style=${{ fill: `var(${color})`, opacity: 0.25 }} />`}
          <line x1="0" x2="18" y1="5" y2="5" style=${{ stroke: `var(${color})`, strokeWidth: main ? 3 : 2, strokeDasharray: dash.join(" ") }} />
        </svg>
        <span class="legend-name">${name}</span>
        <span class="legend-value">${value === null ? "–" : formatY(value)}</span>
      </button>`;
    })}
    <span class="legend-x">${hover === null ? "latest" : `${xLabel} ${formatX(hover)}`}</span>
  </div>`;
}

function Plot({ lines, band, hidden, xLabel, formatX, formatAxis, clamp, sync, plot, setHover, height }) {
  const box = useRef();
  const theme = useTheme();
  // What the picture is made of, apart from its numbers: a change of it builds the plot anew.
  const shape = lines.map(({ name, token: color, dash, width }) => `${name}|${color}|${dash}|${width}`).join("\n");
  const data = useMemo(() => dataOf(lines, band), [lines, band]);
  const newest = useRef();
  newest.current = { lines, hidden };
  useEffect(() => {
    const width = box.current.clientWidth;
    const options = optionsOf({ width, lines, band, xLabel, formatX, formatAxis, clamp, sync, setHover, newest, height: width < 480 ? Math.min(height, NARROW_HEIGHT) : height });
    const made = new globalThis.uPlot(options, data, box.current);
    plot.current = made;
    const resize = new ResizeObserver(() => {
      if (box.current && box.current.clientWidth > 0) made.setSize({ width: box.current.clientWidth, height: made.height });
    });
    resize.observe(box.current);
    return () => {
      resize.disconnect();
      made.destroy();
    };
  }, [theme, shape, Boolean(band), sync, height]);
  useEffect(() => {
    if (plot.current) plot.current.setData(data);
  }, [data]);
  useEffect(() => {
    lines.forEach(({ name }, index) => plot.current.setSeries(index + 1, { show: !hidden.has(name) }));
    if (band) for (const at of [1, 2, 3]) plot.current.setSeries(lines.length + at, { show: !hidden.has(band.name) });
  }, [hidden, theme, shape]);
  return html`<div class="plot" ref=${box}></div>`;
}

function dataOf(lines, band) {
  const edges = band ? [1, 2, 3].map((at) => ({ points: band.points.map((row) => [row[0], row[at]]) })) : [];
  return align([...lines, ...edges]);
}

function optionsOf({ width, height, lines, band, xLabel, formatX, formatAxis, clamp, sync, setHover, newest }) {
  const muted = token("--muted");
  const axis = { stroke: muted, font: AXIS_FONT, grid: { stroke: token("--line"), width: 1 }, ticks: { show: false } };
  const labelled = lines.some(({ short }) => short);
  const series = [
    {},
    ...lines.map(({ name, token: color, dash, width: stroke, points }) => ({
      label: name,
      stroke: token(color),
      width: stroke,
      dash,
      spanGaps: true,
      points: { show: points.length === 1, size: 6 },
    })),
  ];
  const bands = [];
  if (band) {
    const at = series.length;
    const edge = { stroke: "transparent", width: 0, points: { show: false } };
    series.push({ ...edge, label: "p10" }, { label: band.name, stroke: token("--band-line"), width: 1.5, dash: [4, 3], points: { show: false } }, { ...edge, label: "p90" });
    bands.push({ series: [at + 2, at], fill: token("--band-fill") });
  }
  return {
    width,
    height,
    series,
    bands,
    padding: [10, labelled ? 26 : 12, 0, 0],
    legend: { show: false },
    scales: { x: { time: false, range: wide }, y: { range: clamp ?? padded } },
    axes: [
      { ...axis, grid: { show: false }, values: (_, values) => values.map((value) => (value === null ? "" : formatX(value))), space: 56, size: 24, label: xLabel, labelSize: 16, labelGap: 0, labelFont: AXIS_FONT },
      { ...axis, values: (_, values) => values.map((value) => (value === null ? "" : formatAxis(value))), size: 46, space: 36 },
    ],
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 }, ...(sync ? { sync: { key: sync } } : {}) },
    hooks: {
      setCursor: [(self) => setHover(self.cursor.idx === null || self.cursor.left < 0 ? null : self.data[0][self.cursor.idx])],
      draw: labelled ? [(self) => drawEndLabels(self, newest.current)] : [],
    },
  };
}

const wide = (_, low, high) => (low === high ? [low - 0.5, high + 0.5] : [low, high]);

function padded(_, low, high) {
  if (low === null || high === null) return [0, 1];
  const room = (high - low || Math.abs(high) || 1) * 0.08;
  return [low >= 0 ? Math.max(0, low - room) : low - room, high + room];
}

/** Never outside [0, 1], and no wider than the values need. */
export function shareRange(_, low, high) {
  if (low === null || high === null) return [0, 1];
  const room = Math.max(0.02, (high - low) * 0.08);
  return [Math.max(0, low - room), Math.min(1, high + room)];
}

/** Names at the lines' ends, pushed apart: lines are then told apart without their colours. */
function drawEndLabels(self, { lines, hidden }) {
  const pen = self.ctx;
  const ratio = devicePixelRatio || 1;
  const labels = lines
    .map(({ short, name, token: color, points }) => ({ short, name, color, last: points.at(-1) }))
    .filter(({ short, name, last }) => short && last && last[1] !== null && !hidden.has(name))
    .map((label) => ({ ...label, y: self.valToPos(label.last[1], "y", true) }))
    .sort((a, b) => a.y - b.y);
  const step = END_LABEL_PX * ratio;
  if (labels.length * step > self.bbox.height + step) return; // no room: the legend and the table tell
  for (let index = 1; index < labels.length; index += 1) labels[index].y = Math.max(labels[index].y, labels[index - 1].y + step);
  const bottom = self.bbox.top + self.bbox.height;
  let limit = bottom;
  for (let index = labels.length - 1; index >= 0; index -= 1) {
    labels[index].y = Math.min(labels[index].y, limit);
    limit = labels[index].y - step;
  }
  pen.save();
  pen.font = `600 ${10 * ratio}px Inter, sans-serif`;
  pen.textBaseline = "middle";
  pen.textAlign = "left"; // axes are drawn centred
  for (const { short, color, y } of labels) {
    pen.fillStyle = token(color);
    pen.fillText(short, self.bbox.left + self.bbox.width + 6 * ratio, y);
  }
  pen.restore();
}

function tableOf(xLabel, lines, band) {
  const parts = band ? [...lines, ...["p10", "median", "p90"].map((name, at) => ({ name: `${band.name}: ${name}`, points: band.points.map((row) => [row[0], row[at + 1]]) }))] : lines;
  const columns = align(parts);
  return { columns: [xLabel, ...parts.map(({ name }) => name)], rows: columns[0].map((_, row) => columns.map((column) => column[row])) };
}

function describe(title, lines, band, xLabel, formatX, formatY) {
  const main = lines.find((line) => line.main) ?? lines[0];
  const last = main?.points.at(-1);
  if (!last) return `${title}: no values yet`;
  const others = lines.length > 1 ? `, beside ${lines.length - 1} other lines` : "";
  return `${title} by ${xLabel}: ${main.name} ${formatY(last[1])} at ${xLabel} ${formatX(last[0])}${others}${band ? `, with the spread over clients` : ""}`;
}
