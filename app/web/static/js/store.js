// A value that tells when it changed. All state that outlives a component is in one of these.
import { useEffect, useReducer, useRef } from "./ui.js";

export function createStore(initial) {
  let value = initial;
  const listeners = new Set();
  return {
    get: () => value,
    set(next) {
      const following = typeof next === "function" ? next(value) : next;
      if (following === value) return;
      value = following;
      for (const listener of [...listeners]) listener();
    },
    listen(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

const same = (value) => value;

/** Redraw the component when what `select` picks from the store is another value. */
export function useStore(store, select = same) {
  const [, redraw] = useReducer((count) => count + 1, 0);
  const picked = select(store.get());
  const latest = useRef();
  latest.current = { picked, select };
  useEffect(() => {
    const check = () => {
      if (latest.current.select(store.get()) !== latest.current.picked) redraw();
    };
    check(); // it may have changed between drawing and listening
    return store.listen(check);
  }, [store]);
  return picked;
}
