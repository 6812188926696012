// Mounts the page and swaps what is under the header when the address changes.
import { Messages, Question, ShortcutList } from "./components/dialogs.js";
import { Failure, Skeleton } from "./components/bits.js";
import { Topbar } from "./components/shell.js";
import { refreshInfo } from "./info.js";
import { startKeys } from "./keys.js";
import { here, match, startRouter } from "./router.js";
import { expectRun } from "./run_store.js";
import { followRuns } from "./runs_store.js";
import { useStore } from "./store.js";
import { html, render, useEffect, useRef, useState } from "./ui.js";

function App() {
  const path = useStore(here, (place) => place.path);
  const { route, params } = match(path);
  const [page, setPage] = useState({ route: null, Page: null, error: null });
  const arrived = useRef(false);
  useEffect(() => {
    let left = false;
    if (route.name === "run") expectRun(params[0]);
    route.load().then(
      (module) => left || setPage({ route, Page: module.default, error: null }),
      (error) => left || setPage({ route, Page: null, error: new Error(`This part of the page could not be loaded. ${error.message}`) }),
    );
    return () => (left = true);
  }, [route]);
  useEffect(() => {
    // After a navigation the reader of a screen, and the tab key, begin at the new page's heading.
    if (page.route !== route) return;
    if (arrived.current) {
      document.querySelector("#main h1")?.focus({ preventScroll: true });
      scrollTo(0, 0);
    }
    arrived.current = true;
  }, [page.route, path]);
  const ready = page.route === route;
  return html`
    <${Topbar} page=${route.name} />
    <main id="main" class="page page-${route.name}" tabindex="-1" aria-busy=${!ready}>
      ${ready && page.Page ? html`<${page.Page} key=${path} params=${params} />` : null}
      ${ready && page.error ? html`<${Failure} error=${page.error} retry=${() => location.reload()} />` : null}
      ${!ready && html`<h1 class="page-title visually-hidden">Loading</h1><${Skeleton} tall=${true} />`}
    </main>
    <${Messages} /><${Question} /><${ShortcutList} />
  `;
}

startRouter();
startKeys();
refreshInfo();
followRuns();
const root = document.getElementById("app");
root.replaceChildren();
render(html`<${App} />`, root);
