// What to draw for each client: what it does now, or, when the run has ended, how it fared. Pure.
import { LIVING } from "./living.js";
import { CLIENT_STATES } from "./words.js";

const FARED = { answered: "always accepted", rejected: "refused at least once", late: "late at least once", idle: "never asked" };
const ORDER = Object.keys(CLIENT_STATES);

/** A client's state in words; of an ended run, how it fared. */
export function standingText(state, run) {
  return (LIVING.has(run.state) ? undefined : FARED[state]) ?? CLIENT_STATES[state]?.label.toLowerCase() ?? state;
}

/** [[state, number]], in the order of the legend. */
export function tallyOf(clients) {
  const tally = {};
  for (const { state } of clients) tally[state] = (tally[state] ?? 0) + 1;
  return Object.entries(tally).sort(([a], [b]) => ORDER.indexOf(a) - ORDER.indexOf(b));
}

export function standings(clients, run) {
  if (LIVING.has(run.state)) return clients;
  return clients.map((each) => ({ ...each, state: each.rejected ? "rejected" : each.late ? "late" : each.accepted ? "answered" : "idle" }));
}
