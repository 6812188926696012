// One clock for all ages on the page, slow enough to be calm.
import { createStore, useStore } from "./store.js";

const now = createStore(Date.now());
setInterval(() => {
  if (!document.hidden) now.set(Date.now());
}, 1000);
document.addEventListener("visibilitychange", () => now.set(Date.now()));

/** Milliseconds since 1970, in steps: a component that shows minutes need not be drawn each second. */
export const useNow = (stepMs = 1000) => useStore(now, (value) => Math.floor(value / stepMs) * stepMs);
