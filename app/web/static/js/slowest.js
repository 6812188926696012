// Who holds the round up. Pure, over what the server measured.
import { duration } from "./format.js";

const FEW = 0.25; // of those asked: as long as more are out, nobody holds the round up

/** {client, note}: the longest waiting in this phase, else the slowest on average; null when nobody stands out. */
export function slowestClient({ current, clients, run }) {
  const waiting = (current?.updates ?? []).filter((update) => update.state === "waiting");
  if (run.phase && waiting.length && waiting.length <= Math.max(1, FEW * (current.asked ?? 0))) {
    return { client: waiting[0].client, note: waiting.length > 1 ? `and ${waiting.length - 1} more still to answer` : "still to answer" };
  }
  const measured = clients.filter(({ mean_seconds: seconds }) => seconds != null).sort((a, b) => b.mean_seconds - a.mean_seconds);
  if (measured.length < 2) return null;
  const median = measured[measured.length >> 1].mean_seconds;
  const factor = median > 0 ? measured[0].mean_seconds / median : 1;
  return { client: measured[0].client, note: `${duration(measured[0].mean_seconds)} a round${factor >= 1.2 ? `, ${factor.toFixed(1)}× the median` : ""}` };
}
