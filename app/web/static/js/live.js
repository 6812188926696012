// The one Socket.IO connection: rooms that survive reconnects without a gap, and polling where the server is full.
import { io } from "../vendor/socket.io.esm.min.js";
import { createStore } from "./store.js";

const POLL_MS = 5_000;
const KNOCK_AGAIN_MS = 30_000; // a refused viewer asks so seldom that a crowd cannot load the server
const STALE_MS = 20_000;

/** status: connecting, live, reconnecting, stale, polling, refused; `heardMs`: when data were last known to be current. */
export const connection = createStore({ status: "connecting", heardMs: Date.now() });

const rooms = new Map(); // room -> Set of subscriptions
let socket = null;
let polling = null;

function become(status) {
  connection.set((old) => ({ status, heardMs: status === "live" ? Date.now() : old.heardMs }));
}

function connect() {
  socket = io({ transports: ["websocket", "polling"], tryAllTransports: true, reconnectionDelayMax: 4000 });
  socket.on("connect", () => {
    stopPolling();
    become("live");
    for (const room of rooms.keys()) join(room);
  });
  socket.on("disconnect", (why) => {
    become("reconnecting");
    if (why === "io server disconnect") socket.connect(); // the one case in which Socket.IO does not try by itself
  });
  socket.on("connect_error", (error) => {
    if (error.message === "full") startPolling();
    else if (error.message === "unauthorized") become("refused");
    else if (connection.get().status !== "stale") become("reconnecting");
    if (!socket.active) setTimeout(() => socket.connect(), KNOCK_AGAIN_MS);
  });
  socket.on("update", (message) => {
    heard();
    for (const subscription of rooms.get(message.room) ?? []) subscription.onUpdate(message);
  });
  setInterval(growOld, 1000);
}

function heard() {
  connection.set((old) => ({ ...old, heardMs: Date.now() }));
}

function growOld() {
  const { status, heardMs } = connection.get();
  if (status === "live") heard(); // Socket.IO's own heartbeat ends a dead connection
  else if (status === "reconnecting" && Date.now() - heardMs > STALE_MS) become("stale");
}

function join(room) {
  const seqs = [...rooms.get(room)].map((subscription) => subscription.seq());
  socket.emit("subscribe", { room, after: Math.min(...seqs) }, (answer) => {
    if (answer && answer.ok === false) for (const each of rooms.get(room) ?? []) each.onRefused?.(answer);
  });
  for (const subscription of rooms.get(room)) subscription.onJoin?.();
}

function startPolling() {
  become("polling");
  polling ??= setInterval(() => {
    for (const subscriptions of rooms.values()) for (const each of subscriptions) poll(each);
  }, POLL_MS);
}

async function poll(subscription) {
  try {
    await subscription.poll();
    heard();
  } catch {
    // the next tick asks again; the age beside the status says that nothing came
  }
}

function stopPolling() {
  clearInterval(polling);
  polling = null;
}

/**
 * Follow a room. `seq` returns what the caller knows already: after each (re)connect the server sends what came later.
 * `onJoin` is called at each of them, `poll` fetches the same by REST. Returns the function that ends it.
 */
export function subscribe(room, { seq = () => 0, onUpdate, onJoin, onRefused, poll: pollIt }) {
  const subscription = { seq, onUpdate, onJoin, onRefused, poll: pollIt };
  if (!socket) connect();
  if (!rooms.has(room)) rooms.set(room, new Set());
  rooms.get(room).add(subscription);
  if (socket.connected) join(room);
  return () => {
    const left = rooms.get(room);
    left.delete(subscription);
    if (left.size) return;
    rooms.delete(room);
    if (socket.connected) socket.emit("unsubscribe", { room });
  };
}

/** Sign-in and sign-out change who we are: shake hands again. */
export function reconnect() {
  if (socket) socket.disconnect().connect();
}
