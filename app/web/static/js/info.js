// Who we are to this server: signed in or a reader, and how to change that.
import { get, remove } from "./api.js";
import { connection, reconnect } from "./live.js";
import { createStore } from "./store.js";

export const info = createStore(null);

const FRESH_MS = 3_000;
let asked = 0;

export async function refreshInfo() {
  asked = Date.now();
  try {
    info.set(await get("/system/info"));
  } catch (error) {
    if (error.status === 401) info.set({ signed_in: false, read_only: true, locked: true, hint: error.message });
  }
}

export async function signOut() {
  await remove("/session");
  reconnect();
  await refreshInfo();
}

/** Whether actions are for us; null as long as it is not known. */
export const maySteer = (value) => (value ? value.signed_in && !value.read_only : null);

let wasLive = false;
connection.listen(() => {
  const live = connection.get().status === "live";
  if (live && !wasLive && Date.now() - asked > FRESH_MS) refreshInfo(); // a restarted server may be another version, and may have forgotten us
  wasLive = live;
});
