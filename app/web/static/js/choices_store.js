// What a new run may be made of; asked for once.
import { get } from "./api.js";
import { createStore, useStore } from "./store.js";
import { useEffect } from "./ui.js";

const store = createStore({ choices: null, error: null });
let asked = false;

async function load() {
  asked = true;
  try {
    store.set({ choices: await get("/config/choices"), error: null });
  } catch (error) {
    asked = false;
    store.set({ choices: null, error });
  }
}

export function useChoices() {
  useEffect(() => {
    if (!asked) load();
  }, []);
  return { ...useStore(store), retry: load };
}
