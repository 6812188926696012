// Tabs whose choice is in the URL; arrow keys move between them.
import { setQuery } from "../router.js";
import { html, useEffect, useRef } from "../ui.js";

const KEYS = { ArrowRight: 1, ArrowLeft: -1 };

export function Tabs({ label, tabs, chosen }) {
  const list = useRef();
  useEffect(() => {
    // On a phone the chosen tab may lie outside the strip; only the strip moves.
    const tab = list.current.querySelector("[aria-selected=true]");
    if (tab) list.current.scrollLeft = tab.offsetLeft - (list.current.clientWidth - tab.offsetWidth) / 2;
  }, [chosen]);
  const open = (name) => setQuery({ tab: name === tabs[0].name ? "" : name }, { push: true });
  const move = (event) => {
    const at = tabs.findIndex((tab) => tab.name === chosen);
    let to = null;
    if (event.key in KEYS) to = (at + KEYS[event.key] + tabs.length) % tabs.length;
    if (event.key === "Home") to = 0;
    if (event.key === "End") to = tabs.length - 1;
    if (to === null) return;
    event.preventDefault();
    open(tabs[to].name);
    list.current.children[to].focus();
  };
  return html`<div class="tabs" role="tablist" aria-label=${label} ref=${list} onKeyDown=${move}>
    ${tabs.map(
      ({ name, title, badge, tone }) => html`<button
        key=${name}
        type="button"
        role="tab"
        id="tab-${name}"
        aria-selected=${name === chosen}
        aria-controls="panel"
        tabindex=${name === chosen ? 0 : -1}
        onClick=${() => open(name)}
      >
        ${title}${badge ? html` <span class="badge-count ${tone ? `tone-${tone}` : ""}">${badge}</span>` : null}
      </button>`,
    )}
  </div>`;
}

export const TabPanel = ({ name, children }) =>
  html`<div role="tabpanel" id="panel" aria-labelledby="tab-${name}" class="tab-panel">${children}</div>`;
