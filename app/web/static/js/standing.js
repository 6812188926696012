// What to draw for each client: what it does now, or, when the run has ended, how it fared. Pure.
import { LIVING } from "./living.js";

export function standings(clients, run) {
  if (LIVING.has(run.state)) return clients;
  return clients.map((each) => ({ ...each, state: each.rejected ? "rejected" : each.late ? "late" : each.accepted ? "answered" : "idle" }));
}
