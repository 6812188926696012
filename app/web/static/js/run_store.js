// One run as a live value: the snapshot, then deltas merged by key, caught up after each reconnect.
import { get, post } from "./api.js";
import { subscribe } from "./live.js";
import { mergeRun } from "./merge.js";
import { createStore, useStore } from "./store.js";
import { useEffect } from "./ui.js";

const open = new Map(); // run id -> {store, users, close}
const LINGER_MS = 3_000; // from the overview to the run's page, nothing is fetched twice
const EMPTY = createStore({ snapshot: null, error: null });

function openRun(runId) {
  const store = createStore({ snapshot: null, error: null });
  let leave = () => {};
  let closed = false;
  const path = `/runs/${encodeURIComponent(runId)}`;
  const load = async () => {
    const snapshot = await get(`${path}/snapshot`, { max_points: 500 });
    if (!closed) store.set({ snapshot, error: null });
  };
  const begin = async () => {
    try {
      await load();
    } catch (error) {
      store.set((old) => ({ ...old, error }));
      if (error.status === 0 && !closed) setTimeout(begin, 2000); // the server restarts: the page waits for it
      return;
    }
    if (closed) return;
    leave = subscribe(`run:${runId}`, {
      seq: () => store.get().snapshot?.last_seq ?? 0,
      onUpdate: (message) => {
        if (message.type !== "run-delta") return;
        store.set((old) => ({ ...old, snapshot: mergeRun(old.snapshot, message.data) }));
      },
      poll: load,
    });
  };
  begin();
  return {
    store,
    retry: begin,
    users: 0,
    close() {
      closed = true;
      leave();
    },
  };
}

/** Begin to fetch a run whose page is still being loaded. */
export function expectRun(runId) {
  if (!open.has(runId)) open.set(runId, openRun(runId));
}

/** {snapshot, error} of a run for as long as the component is there; "" follows none. */
export function useRun(runId) {
  if (runId) expectRun(runId);
  const entry = runId ? open.get(runId) : null;
  useEffect(() => {
    if (!entry) return undefined;
    entry.users += 1;
    return () => {
      entry.users -= 1;
      setTimeout(() => {
        if (entry.users > 0 || open.get(runId) !== entry) return;
        entry.close();
        open.delete(runId);
      }, LINGER_MS);
    };
  }, [entry]);
  return useStore(entry?.store ?? EMPTY);
}

/** Ask for start, pause, resume or stop. What it did comes back as the run's new state. */
export async function act(runId, action) {
  const run = await post(`/runs/${encodeURIComponent(runId)}/${action}`);
  const entry = open.get(runId);
  if (entry && run) {
    entry.store.set((old) => (old.snapshot ? { ...old, snapshot: { ...old.snapshot, run } } : old));
  }
  return run;
}
