// Why a run waits, or what it does: the server's sentence; where it has none, what the state says by itself.
import { duration } from "./format.js";
import { RUN_STATES, phaseText } from "./words.js";

export function reasonOf(run) {
  if (run.error) return run.error;
  if (run.reason) return run.reason[0].toUpperCase() + run.reason.slice(1);
  if (run.phase) return phaseText(run.phase);
  if (run.state === "completed") return `All ${run.num_rounds} rounds are done, in ${duration(run.seconds)}.`;
  return RUN_STATES[run.state]?.label ?? run.state;
}
