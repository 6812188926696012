// Numbers and times as people read them. Pure: `now` is an argument.
const MISSING = "–";
const integers = new Intl.NumberFormat("en");

const known = (value) => typeof value === "number" && Number.isFinite(value);

export const count = (value) => (known(value) ? integers.format(Math.round(value)) : MISSING);
export const percent = (value, digits = 1) => (known(value) ? `${(100 * value).toFixed(digits)}%` : MISSING);

export function decimal(value, digits = 3) {
  if (!known(value)) return MISSING;
  if (value !== 0 && (Math.abs(value) >= 1e5 || Math.abs(value) < 10 ** -digits)) return value.toExponential(1);
  return value.toFixed(digits);
}

/** A tick of an axis: no more digits than it needs. */
export const short = (value) => (known(value) ? String(Number(value.toPrecision(3))) : MISSING);

export const epsilon = (value) => (known(value) ? (value >= 100 ? value.toFixed(0) : value.toFixed(2)) : MISSING);

export function bytes(value) {
  if (!known(value)) return MISSING;
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  let size = value;
  while (size >= 1000 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${size < 10 && unit > 0 ? size.toFixed(1) : Math.round(size)} ${units[unit]}`;
}

export function duration(seconds) {
  if (!known(seconds)) return MISSING;
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
  const minutes = Math.round(whole / 60);
  if (minutes < 60 * 48) return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
  return `${Math.round(minutes / 1440)} days`;
}

/** Coarse on purpose: a list whose ages change each second is not calm. */
export function ago(ts, nowMs) {
  if (!known(ts)) return MISSING;
  const seconds = Math.max(0, nowMs / 1000 - ts);
  if (seconds < 5) return "just now";
  if (seconds < 60) return `${Math.floor(seconds / 5) * 5} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  if (seconds < 86400 * 30) return `${Math.floor(seconds / 86400)} d ago`;
  return new Date(ts * 1000).toISOString().slice(0, 10);
}

const two = (number) => String(number).padStart(2, "0");

export function clock(ts) {
  if (!known(ts)) return MISSING;
  const at = new Date(ts * 1000);
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

export function dateTime(ts) {
  if (!known(ts)) return MISSING;
  const at = new Date(ts * 1000);
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${clock(ts)}`;
}

export const digest = (hex) => (hex ? hex.slice(0, 12) : MISSING);
export const plural = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;

/** Natural order: client-2 before client-10. */
export const natural = new Intl.Collator("en", { numeric: true }).compare;
