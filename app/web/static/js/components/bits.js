// Small parts that every page uses.
import { dateTime, ago } from "../format.js";
import { Icon } from "../icons.js";
import { maySteer, info } from "../info.js";
import { useNow } from "../now.js";
import { useStore } from "../store.js";
import { html, useState } from "../ui.js";

/** A state as word, shape and colour. */
export function Pill({ of, state, small }) {
  const { label, tone, icon } = of[state] ?? { label: state, tone: "quiet", icon: "dot" };
  return html`<span class="pill tone-${tone} ${small ? "pill-small" : ""}"><${Icon} name=${icon} size=${12} />${label}</span>`;
}

export function Card({ title, id, aside, children, class: extra = "", level = 2 }) {
  const heading = id ?? `card-${title.toLowerCase().replaceAll(/\W+/g, "-")}`;
  return html`<section class="card-box ${extra}" aria-labelledby=${heading}>
    <header class="card-head">
      <${level === 3 ? "h3" : "h2"} class="card-title" id=${heading}>${title}</>
      ${aside && html`<div class="card-aside">${aside}</div>`}
    </header>
    ${children}
  </section>`;
}

export function Figure({ label, value, note, tone = "" }) {
  return html`<div class="figure ${tone && `tone-${tone}`}">
    <dt>${label}</dt>
    <dd><span class="figure-value ${/^\d/.test(value) ? "num" : ""}">${value}</span>${note && html`<span class="figure-note">${note}</span>`}</dd>
  </div>`;
}

export const Figures = ({ children, label }) => html`<dl class="figures" aria-label=${label}>${children}</dl>`;

/** Nothing here yet, and what to do about it. */
export function Empty({ title, children, icon = "dot" }) {
  return html`<div class="empty">
    <span class="empty-icon"><${Icon} name=${icon} size=${22} /></span>
    <p class="empty-title">${title}</p>
    ${children && html`<div class="empty-text">${children}</div>`}
  </div>`;
}

export function Skeleton({ lines = 3, tall = false }) {
  return html`<div class="skeletons" role="status" aria-label="Loading">
    ${tall ? html`<div class="skeleton skeleton-hero"></div>` : Array.from({ length: lines }, () => html`<div class="skeleton"></div>`)}
  </div>`;
}

/** One clear sentence about what went wrong, and a way on. */
export function Failure({ error, retry }) {
  const locked = error.status === 401;
  return html`<div class="notice tone-${locked ? "warn" : "bad"}" role="alert">
    <${Icon} name=${locked ? "key" : "cross"} />
    <p>${error.message}</p>
    ${locked ? html`<a class="btn btn-sm btn-outline-secondary" href="/login">Sign in</a>` : null}
    ${retry && !locked ? html`<button class="btn btn-sm btn-outline-secondary" onClick=${retry}>Try again</button>` : null}
  </div>`;
}

export function Ago({ ts, step = 5000 }) {
  const now = useNow(step);
  return html`<time dateTime=${ts ? new Date(ts * 1000).toISOString() : undefined} title=${dateTime(ts)}>${ago(ts, now)}</time>`;
}

/** Where an action would be, for someone who may only look. */
export function ReadOnlyHint({ action = "To steer runs" }) {
  const known = useStore(info);
  if (maySteer(known) !== false) return null;
  if (known.signed_in) return html`<p class="hint"><${Icon} name="key" /><span>This dashboard only shows runs: it was started without the means to start or steer them.</span></p>`;
  return html`<p class="hint"><${Icon} name="key" /><span>${action}, <a href="/login">sign in</a>. ${known.hint}</span></p>`;
}

export function CopyButton({ text, label = "Copy" }) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      copyByHand(text); // plain HTTP from another machine has no clipboard API
    }
    setDone(true);
    setTimeout(() => setDone(false), 1500);
  };
  return html`<button type="button" class="btn btn-sm btn-outline-secondary" onClick=${copy}>
    <${Icon} name=${done ? "check" : "copy"} size=${14} /> <span aria-live="polite">${done ? "Copied" : label}</span>
  </button>`;
}

function copyByHand(text) {
  const area = document.createElement("textarea");
  area.value = text;
  area.setAttribute("readonly", "");
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

export function Code({ text, label }) {
  return html`<div class="code">
    <div class="code-head"><span>${label}</span><${CopyButton} text=${text} /></div>
    <pre tabindex="0" role="region" aria-label=${label}><code>${text}</code></pre>
  </div>`;
}

/** A share as a bar with its number beside it. */
export function Meter({ value, max = 1, label, tone = "" }) {
  const part = max > 0 ? Math.min(1, Math.max(0, value / max)) : 0;
  return html`<span class="meter ${tone && `tone-${tone}`}" role="img" aria-label=${label}>
    <span style=${{ width: `${(100 * part).toFixed(2)}%` }}></span>
  </span>`;
}
