// The address bar is the state: pages by path, what they show by query.
import { createStore, useStore } from "./store.js";

export const ROUTES = [
  { path: /^\/$/, name: "overview", load: () => import("./pages/overview.js") },
  { path: /^\/runs\/new$/, name: "new", load: () => import("./pages/new_run.js") },
  { path: /^\/runs\/([^/]+)$/, name: "run", load: () => import("./pages/run.js") },
  { path: /^\/runs$/, name: "runs", load: () => import("./pages/runs.js") },
  { path: /^\/compare$/, name: "compare", load: () => import("./pages/compare.js") },
  { path: /^\/events$/, name: "events", load: () => import("./pages/events.js") },
  { path: /^\/models$/, name: "models", load: () => import("./pages/models.js") },
  { path: /^\/login$/, name: "login", load: () => import("./pages/login.js") },
];
const NOT_FOUND = { name: "not-found", load: () => import("./pages/not_found.js") };

const read = () => ({ path: location.pathname, query: location.search });
export const here = createStore(read());

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // a lone %: the server will not know the run either
  }
}

export function match(path) {
  for (const route of ROUTES) {
    const found = route.path.exec(path);
    if (found) return { route, params: found.slice(1).map(decoded) };
  }
  return { route: NOT_FOUND, params: [] };
}

export function navigate(to, { replace = false } = {}) {
  const url = new URL(to, location.href);
  if (url.href !== location.href) history[replace ? "replaceState" : "pushState"](null, "", url);
  here.set(read());
}

/** The query as an object, and a function that changes keys of it; "" takes a key away. */
export function useQuery() {
  const { query } = useStore(here);
  return [Object.fromEntries(new URLSearchParams(query)), setQuery];
}

export function setQuery(changes, { push = false } = {}) {
  const query = new URLSearchParams(location.search);
  for (const [key, value] of Object.entries(changes)) {
    if (value === "" || value === null || value === undefined || value === false) query.delete(key);
    else query.set(key, value);
  }
  // Commas are legal in a query and the lists read better with them.
  const text = query.toString().replaceAll("%2C", ",");
  navigate(location.pathname + (text ? `?${text}` : ""), { replace: !push });
}

export function startRouter() {
  addEventListener("popstate", () => here.set(read()));
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[href]");
    if (!link || event.defaultPrevented || event.button !== 0) return;
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    if (link.target || link.hasAttribute("download") || link.origin !== location.origin) return;
    if (match(link.pathname).route === NOT_FOUND) return; // /docs, /metrics: the server's own
    if (link.hash && link.pathname === location.pathname) return; // a jump inside the page
    event.preventDefault();
    navigate(link.href);
  });
}
