// Lines of each client, asked for again when rounds were added: the deltas carry only the newest value.
import { get } from "./api.js";
import { useEffect, useRef, useState } from "./ui.js";

const MOST_LINES = 12;
const AT_MOST_EVERY_MS = 2_000;

export function useMetrics(runId, numRounds, seq, state) {
  const [metrics, setMetrics] = useState(null);
  const asked = useRef({ at: 0, timer: 0 });
  const living = state === "running";
  const wanted = `${runId}|${numRounds}|${living ? "" : seq}`;
  useEffect(() => {
    if (!runId) return undefined;
    let gone = false;
    const load = async () => {
      asked.current.at = Date.now();
      try {
        const answer = await get(`/runs/${encodeURIComponent(runId)}/metrics`, { max_points: 500, names: "accuracy,loss", clients: "*" });
        if (!gone) setMetrics(withoutCrowd(answer));
      } catch {
        // the lines stay as they are; the header says when the server is away
      }
    };
    const wait = Math.max(0, asked.current.at + AT_MOST_EVERY_MS - Date.now());
    const timer = setTimeout(load, wait);
    return () => {
      gone = true;
      clearTimeout(timer);
    };
  }, [wanted]);
  return metrics && metrics.run_id === runId ? metrics : null;
}

function withoutCrowd(metrics) {
  const clients = new Set(metrics.series.map(({ client }) => client).filter(Boolean));
  return clients.size > MOST_LINES ? { ...metrics, series: metrics.series.filter(({ client }) => !client) } : metrics;
}
