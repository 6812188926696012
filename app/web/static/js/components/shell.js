// What surrounds every page: where one is, whether what one sees is current, and who one is.
import { LIVING } from "../living.js";
import { currentRun, newest } from "../runs_store.js";
import { Icon } from "../icons.js";
import { info, signOut } from "../info.js";
import { nextTheme, shortcuts } from "../keys.js";
import { connection } from "../live.js";
import { useNow } from "../now.js";
import { useStore } from "../store.js";
import { html, useEffect, useReducer } from "../ui.js";

const LINKS = [
  { href: "/", name: "overview", title: "Overview", icon: "home" },
  { href: "/runs", name: "runs", title: "Runs", icon: "list", also: ["run"] },
  { href: "/compare", name: "compare", title: "Compare", icon: "compare" },
  { href: "/events", name: "events", title: "Events", icon: "events" },
  { href: "/models", name: "models", title: "Models", icon: "cube" },
];

export function Topbar({ page }) {
  return html`<header class="topbar">
    <a class="brand" href="/" aria-label="Constellation, overview"><${Mark} /><span>Constellation</span></a>
    <${Navigation} page=${page} />
    <div class="topbar-end">
      <${LiveState} />
      <${Account} />
      <${ThemeButton} />
      <button type="button" class="btn-plain wide-only" title="Keyboard shortcuts (?)" aria-label="Keyboard shortcuts" onClick=${() => shortcuts.set((old) => ({ ...old, open: true }))}>
        <${Icon} name="help" />
      </button>
    </div>
  </header>`;
}

function Navigation({ page }) {
  const busy = useStore(newest, (value) => LIVING.has(currentRun(value.runs)?.state));
  return html`<nav class="nav-main" aria-label="Main">
    ${LINKS.map(({ href, name, title, icon, also = [] }) => {
      const inside = page === name || also.includes(page);
      return html`<a key=${name} href=${href} aria-current=${page === name ? "page" : inside ? "true" : undefined}>
        <${Icon} name=${icon} /><span>${title}</span>
        ${name === "overview" && busy ? html`<span class="nav-dot" title="A run is under way"><span class="visually-hidden">(a run is under way)</span></span>` : null}
      </a>`;
    })}
    <a class="nav-new" href="/runs/new" aria-current=${page === "new" ? "page" : undefined}><${Icon} name="plus" /><span>New run</span></a>
  </nav>`;
}

const LIVE = {
  connecting: { label: "Connecting", tone: "quiet", text: "The page connects to the server." },
  live: { label: "Live", tone: "good", text: "What you see is current." },
  reconnecting: { label: "Reconnecting", tone: "warn", aged: true, text: "The connection is lost; the page catches up as soon as it is back." },
  stale: { label: "Stale", tone: "bad", aged: true, text: "The server does not answer. What you see is as old as it says." },
  polling: { label: "Every 5 s", tone: "info", text: "The server has all the live viewers it takes: this page asks every 5 seconds." },
  refused: { label: "Signed out", tone: "warn", text: "The server wants you to sign in before it sends live data." },
};

function LiveState() {
  const status = useStore(connection, (value) => value.status);
  const { label, tone, aged, text } = LIVE[status];
  return html`<span class="live tone-${tone}" role="status" title=${text} data-live=${status}>
    <span class="live-dot" aria-hidden="true"></span>${label}${aged ? html`<${Age} />` : null}
  </span>`;
}

function Age() {
  const heard = useStore(connection, (value) => value.heardMs);
  const now = useNow();
  return html`<span class="live-age" aria-hidden="true"> · ${Math.max(0, Math.round((now - heard) / 1000))} s old</span>`;
}

function Account() {
  const known = useStore(info);
  if (!known) return null;
  if (known.signed_in) return html`<button type="button" class="btn-plain wide-only" onClick=${signOut} title="You may steer runs. Sign out.">Sign out</button>`;
  return html`<a class="btn-plain" href="/login" title=${known.hint}><${Icon} name="key" size=${14} /><span>Sign in</span></a>`;
}

const THEMES = { auto: ["auto", "follows the system"], light: ["sun", "light"], dark: ["moon", "dark"] };

export function useTheme() {
  const [, redraw] = useReducer((count) => count + 1, 0);
  useEffect(() => {
    addEventListener("themechange", redraw);
    return () => removeEventListener("themechange", redraw);
  }, []);
  return document.documentElement.dataset.bsTheme;
}

function ThemeButton() {
  useTheme();
  const choice = document.documentElement.dataset.themeChoice;
  const [icon, text] = THEMES[choice] ?? THEMES.auto;
  return html`<button type="button" class="btn-plain" title="Theme: ${text} (t)" aria-label="Theme: ${text}. Change" onClick=${nextTheme}>
    <${Icon} name=${icon} />
  </button>`;
}

const Mark = () => html`<svg class="logo" width="24" height="24" viewBox="0 0 32 32" aria-hidden="true">
  <path d="M6 22 14 8 27 12 22 26Z" /><circle cx="6" cy="22" r="3" /><circle cx="14" cy="8" r="4.2" /><circle cx="27" cy="12" r="2.8" /><circle cx="22" cy="26" r="2.8" />
</svg>`;
