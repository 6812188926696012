// Lines of different lengths on one x axis, as uPlot and tables want them. Pure.

/** series: [{points: [[x, y], ...]}] -> [[x...], [y or null...], ...], x rising. */
export function align(series) {
  const xs = [...new Set(series.flatMap(({ points }) => points.map(([x]) => x)))].sort((a, b) => a - b);
  const place = new Map(xs.map((x, index) => [x, index]));
  const columns = series.map(({ points }) => {
    const column = new Array(xs.length).fill(null);
    for (const [x, y] of points) column[place.get(x)] = Number.isFinite(y) ? y : null;
    return column;
  });
  return [xs, ...columns];
}

/** The value of a line at x, or the last one before it. */
export function valueAt(points, x) {
  let found = null;
  for (const [at, value] of points) {
    if (at > x) break;
    if (value !== null) found = value;
  }
  return found;
}

/** An exponential mean over about `rounds` points: for the eye only, tables and files hold the values. */
export function smooth(points, rounds) {
  if (rounds <= 1) return points;
  const weight = 2 / (rounds + 1);
  let mean = null;
  return points.map(([x, y]) => {
    if (y === null) return [x, y];
    mean = mean === null ? y : mean + weight * (y - mean);
    return [x, mean];
  });
}
