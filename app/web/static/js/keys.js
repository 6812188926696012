// Single-key shortcuts; they can be switched off (WCAG 2.1.4) and never act while somebody types.
import { navigate } from "./router.js";
import { createStore } from "./store.js";

const PAGES = { o: "/", r: "/runs", n: "/runs/new", c: "/compare", e: "/events", m: "/models" };
const SEQUENCE_MS = 1_200;

export const SHORTCUTS = [
  { keys: ["g", "o"], text: "Overview" },
  { keys: ["g", "r"], text: "Runs" },
  { keys: ["g", "n"], text: "New run" },
  { keys: ["g", "c"], text: "Compare" },
  { keys: ["g", "e"], text: "Events" },
  { keys: ["g", "m"], text: "Models" },
  { keys: ["/"], text: "Search on this page" },
  { keys: ["t"], text: "Theme: light, dark, automatic" },
  { keys: ["?"], text: "This list" },
];

function remembered() {
  try {
    return localStorage.getItem("shortcuts") !== "off";
  } catch {
    return true;
  }
}

export const shortcuts = createStore({ open: false, on: remembered() });
shortcuts.turn = (on) => {
  try {
    localStorage.setItem("shortcuts", on ? "on" : "off");
  } catch {
    // lasts as long as the page
  }
  shortcuts.set((old) => ({ ...old, on }));
};

const THEMES = ["auto", "light", "dark"];
export function nextTheme() {
  const now = document.documentElement.dataset.themeChoice;
  globalThis.chooseTheme(THEMES[(THEMES.indexOf(now) + 1) % THEMES.length]);
}

export function startKeys() {
  let after = "";
  let timer = 0;
  addEventListener("keydown", (event) => {
    if (!shortcuts.get().on || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.target.closest?.("input, textarea, select, [contenteditable], dialog")) return;
    if (after === "g" && event.key in PAGES) {
      navigate(PAGES[event.key]);
      event.preventDefault();
    } else if (event.key === "?") {
      shortcuts.set((old) => ({ ...old, open: true }));
    } else if (event.key === "t") {
      nextTheme();
    } else if (event.key === "/") {
      const search = document.querySelector("input[type=search]");
      if (search) {
        search.focus();
        event.preventDefault();
      }
    }
    after = event.key;
    clearTimeout(timer);
    timer = setTimeout(() => (after = ""), SEQUENCE_MS);
  });
}
