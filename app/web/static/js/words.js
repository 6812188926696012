// What codes mean, in sentences. A code that is not here is shown as it is: the server may be newer than this page.
import { bytes, count, decimal, duration, percent, plural } from "./format.js";

/** tone picks a colour, icon a shape: a state is never told by its colour alone. */
export const RUN_STATES = {
  queued: { label: "Queued", tone: "quiet", icon: "clock" },
  starting: { label: "Starting", tone: "info", icon: "dots" },
  running: { label: "Running", tone: "live", icon: "play" },
  paused: { label: "Paused", tone: "warn", icon: "pause" },
  stopping: { label: "Stopping", tone: "warn", icon: "dots" },
  completed: { label: "Completed", tone: "good", icon: "check" },
  stopped: { label: "Stopped", tone: "quiet", icon: "stop" },
  failed: { label: "Failed", tone: "bad", icon: "cross" },
  interrupted: { label: "Interrupted", tone: "bad", icon: "bolt" },
};

export const CLIENT_STATES = {
  idle: { label: "Idle", tone: "quiet", icon: "dot" },
  training: { label: "Training", tone: "live", icon: "dots" },
  evaluating: { label: "Evaluating", tone: "live", icon: "dots" },
  answered: { label: "Answered", tone: "good", icon: "check" },
  rejected: { label: "Refused", tone: "bad", icon: "cross" },
  late: { label: "Late", tone: "warn", icon: "clock" },
};

export const UPDATE_STATES = {
  waiting: { label: "Waiting", tone: "info", icon: "dots" },
  received: { label: "Received", tone: "live", icon: "dot" },
  accepted: { label: "Accepted", tone: "good", icon: "check" },
  rejected: { label: "Refused", tone: "bad", icon: "cross" },
  late: { label: "Late", tone: "warn", icon: "clock" },
};

export const NODE_STATES = {
  online: { label: "Online", tone: "good", icon: "check" },
  stale: { label: "Stale", tone: "warn", icon: "clock" },
  offline: { label: "Offline", tone: "quiet", icon: "cross" },
};

export const ROUND_STATES = {
  open: { label: "Open", tone: "info", icon: "dots" },
  collecting: { label: "Collecting", tone: "live", icon: "dots" },
  aggregating: { label: "Aggregating", tone: "live", icon: "dots" },
  closed: { label: "Closed", tone: "good", icon: "check" },
  failed: { label: "Failed", tone: "bad", icon: "cross" },
};

const REASONS = {
  "client-error": "The client answered with an error instead of an update",
  malformed: "Parts of the answer are missing, extra or do not decode",
  "protocol-version": "The client speaks another version of the protocol",
  algorithm: "The client signs with an algorithm that is not allowed",
  "wrong-run": "The answer belongs to another run",
  "stale-attempt": "It answers an earlier start of this round",
  "wrong-round": "It answers another round",
  "wrong-phase": "It answers another phase",
  "node-mismatch": "The sender is not the node that was asked, or the node belongs to another client",
  "wrong-nonce": "It does not answer the request this node was sent",
  "stale-base": "It was computed from another global model",
  "unknown-key": "Nobody with this key may sign",
  "revoked-key": "The client's key was revoked",
  "bad-signature": "The signature does not match the client's key: somebody else signed, or the update was altered",
  replay: "The same update was sent before",
  schema: "Names, shapes or types of the arrays differ from the model's",
  "non-finite": "The update holds values that are not finite numbers",
  "num-examples": "The claimed number of examples is not plausible",
  norm: "The change is far out of proportion to the others'",
  "budget-exhausted": "The client's privacy budget is spent",
};

export const reasonText = (code) => REASONS[code] ?? "";
export const titleCase = (code) => (code ? code[0].toUpperCase() + code.slice(1).replaceAll("-", " ") : "");

const metric = (metrics) =>
  [
    "accuracy" in (metrics ?? {}) ? `accuracy ${percent(metrics.accuracy)}` : "",
    "loss" in (metrics ?? {}) ? `loss ${decimal(metrics.loss)}` : "",
  ]
    .filter(Boolean)
    .join(", ");

const EVENTS = {
  "run-started": (d) =>
    `Run started with ${plural(d["num-clients"], "client")}${d["first-round"] > 1 ? `, going on at round ${d["first-round"]}` : ""}`,
  "partition-described": (d) => `Data split over ${plural(Object.keys(d.histograms ?? {}).length, "client")}`,
  "run-waiting": (d) => `Waiting: ${d.reason}`,
  "run-paused": () => "Run paused",
  "run-resumed": () => "Run resumed",
  "round-started": (d) => `Round ${d["server-round"]} opened${d.attempt > 1 ? ` (attempt ${d.attempt})` : ""}`,
  "phase-started": (d) => `Round ${d["server-round"]}: ${d.phase} sent to ${plural((d.clients ?? []).length, "client")}`,
  "update-received": (d) =>
    `${d.client || `node ${d["node-id"]}`} answered ${d.phase} after ${duration(d.seconds)}${d["num-bytes"] ? `, ${bytes(d["num-bytes"])}` : ""}`,
  "client-identified": (d) => `Node ${d["node-id"]} is ${d.client}`,
  "update-accepted": (d) =>
    `${d.client}: ${d.phase} accepted, ${count(d["num-examples"])} examples${metric(d.metrics) ? `, ${metric(d.metrics)}` : ""}`,
  "update-rejected": (d) => `${d.client || `node ${d["node-id"]}`}: ${d.phase} refused, ${d.reason}. ${d.detail ?? ""}`,
  "update-capped": (d) => `${d.client}: counted with ${decimal(d.counted, 1)} instead of ${count(d.claimed)} examples`,
  "update-late": (d) => `${d.client} had not answered ${d.phase} after ${duration(d.seconds)}`,
  "phase-ended": (d) =>
    `Round ${d["server-round"]}: ${d.phase} over, ${d.accepted} accepted, ${d.rejected} refused, ${d.late} late` +
    (d["kept-old-model"] ? "; the old model was kept" : ""),
  "model-evaluated": (d) => `Global model of round ${d["server-round"]}: ${metric(d.metrics)}`,
  "clients-evaluated": (d) => `Round ${d["server-round"]} on the clients' own data: mean ${metric(d.mean)}`,
  "round-closed": (d) => `Round ${d["server-round"]} closed after ${duration(d.seconds)}`,
  "privacy-spent": (d) => `Privacy after round ${d["server-round"]}: ε ${decimal(d.epsilon, 2)} at δ ${d.delta}`,
  "run-ended": (d) => `Run ${d.state} after ${plural(d["rounds-completed"], "round")}${d.error ? `: ${d.error}` : ""}`,
};

export const EVENT_TYPES = Object.keys(EVENTS);

export function eventText(event) {
  try {
    return EVENTS[event.type]?.(event.data) ?? event.type;
  } catch {
    return event.type; // an event of a newer version, without what this sentence needs
  }
}

export const EVENT_TONES = {
  "update-rejected": { tone: "bad", icon: "cross" },
  "update-late": { tone: "warn", icon: "clock" },
  "update-capped": { tone: "warn", icon: "dot" },
  "run-waiting": { tone: "warn", icon: "clock" },
  "run-paused": { tone: "warn", icon: "pause" },
  "run-started": { tone: "live", icon: "play" },
  "run-resumed": { tone: "live", icon: "play" },
  "run-ended": { tone: "good", icon: "stop" },
  "update-accepted": { tone: "good", icon: "check" },
  "privacy-spent": { tone: "info", icon: "shield" },
};

const PHASES = { train: "Training", evaluate: "Evaluating on the clients", aggregate: "Aggregating" };
export const phaseText = (phase) => PHASES[phase] ?? titleCase(phase);
