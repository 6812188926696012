// The newest runs, kept fresh by the room "overview": what the overview and the compare picker choose from.
import { get } from "./api.js";
import { subscribe } from "./live.js";
import { LIVING } from "./living.js";
import { mergeRuns } from "./merge.js";
import { createStore } from "./store.js";

const NEWEST = 30;
const CATCH_UP_MS = 500;

export const newest = createStore({ runs: null, error: null });
const followers = new Set(); // pages that show other parts of the list

/** Hear of every run that changed. */
export function onRunsChanged(listener) {
  followers.add(listener);
  return () => followers.delete(listener);
}

export async function loadNewest() {
  try {
    const page = await get("/runs", { limit: NEWEST });
    newest.set({ runs: page.items, error: null });
  } catch (error) {
    newest.set((old) => ({ ...old, error }));
    if (error.status === 0) setTimeout(loadNewest, 2000);
  }
}

let following = false;
/** Follow the room once, for as long as the page lives: the header's badge needs it everywhere. */
export function followRuns() {
  if (following) return;
  following = true;
  loadNewest(); // at once: the page does not wait for the connection
  subscribe("overview", {
    seq: () => Math.max(0, ...(newest.get().runs ?? []).map((run) => run.last_seq)),
    onUpdate: (message) => {
      if (message.type !== "runs") return;
      newest.set((old) => (old.runs ? { ...old, runs: mergeRuns(old.runs, message.data.runs, true).slice(0, 100) } : old));
      for (const listener of followers) listener(message.data.runs);
    },
    // Runs that came or ended while nobody listened; not at once beside the page's own first questions.
    onJoin: () => setTimeout(loadNewest, CATCH_UP_MS),
    poll: loadNewest,
  });
}

/** The run to show first: the newest living one, else the newest. */
export function currentRun(runs) {
  return runs?.find((run) => LIVING.has(run.state)) ?? runs?.[0] ?? null;
}
