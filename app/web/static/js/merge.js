// How a RunDelta joins a Snapshot. Pure, so that tests can ask it about gaps, repeats and order.
import { natural } from "./format.js";

const MAX_REJECTIONS = 200;

function byKey(old, changed, key, compare) {
  if (!changed?.length) return old;
  const merged = new Map(old.map((item) => [key(item), item]));
  let grew = false;
  for (const item of changed) {
    grew ||= !merged.has(key(item));
    merged.set(key(item), item);
  }
  const items = [...merged.values()];
  return grew ? items.sort(compare) : items;
}

/** The phase after a delta: its updates are only those that changed, as long as it is the same phase. */
function mergeCurrent(old, next) {
  const same = ["server_round", "attempt", "phase"].every((key) => old?.[key] === next[key]);
  if (!same) return next;
  return { ...next, updates: byKey(old.updates, next.updates, (item) => item.client, (a, b) => natural(a.client, b.client)) };
}

const roundKey = (item) => item.server_round;
const updateKey = (item) => `${item.server_round}/${item.attempt}/${item.phase}/${item.client}/${item.ts}`;

/** The snapshot after the delta; the same object when the delta holds nothing newer. */
export function mergeRun(snapshot, delta) {
  // Equal is not older: an action changes a run (desired state, the buttons) without an event of the training.
  if (delta.last_seq < snapshot.last_seq) return snapshot;
  // A run that was resumed from a checkpoint counts on from there: later rounds belong to the abandoned attempt.
  const kept = snapshot.rounds.at(-1)?.server_round > delta.run.current_round ? snapshot.rounds.filter((round) => round.server_round <= delta.run.current_round) : snapshot.rounds;
  const rounds = byKey(kept, delta.rounds, roundKey, (a, b) => a.server_round - b.server_round);
  return {
    ...snapshot,
    run: delta.run,
    last_seq: delta.last_seq,
    rounds,
    num_rounds_known: Math.max(snapshot.num_rounds_known, rounds.length),
    clients: byKey(
      snapshot.clients,
      delta.clients,
      (item) => item.client,
      (a, b) => natural(a.client, b.client),
    ),
    // A run between two phases has no current phase.
    current: delta.current ? mergeCurrent(snapshot.current, delta.current) : delta.run.phase ? snapshot.current : null,
    rejections: byKey(snapshot.rejections, delta.rejections, updateKey, (a, b) => b.ts - a.ts).slice(0, MAX_REJECTIONS),
    privacy: delta.privacy ?? snapshot.privacy,
    nodes: byKey(
      snapshot.nodes,
      delta.nodes,
      (item) => item.node,
      (a, b) => natural(a.node, b.node),
    ),
    partition: delta.partition ?? snapshot.partition,
    models: byKey(
      snapshot.models,
      delta.models,
      (item) => `${item.run_id}/${item.server_round}/${item.digest}`,
      (a, b) => b.server_round - a.server_round,
    ),
  };
}

/** Runs of a list after some changed; unknown ones are put in front only when `grow` is set. */
export function mergeRuns(runs, changed, grow) {
  const fresh = new Map(changed.map((run) => [run.run_id, run]));
  const merged = runs.map((run) => {
    const update = fresh.get(run.run_id);
    fresh.delete(run.run_id);
    return update ?? run;
  });
  return grow ? [...[...fresh.values()].sort((a, b) => b.created_ts - a.created_ts), ...merged] : merged;
}
