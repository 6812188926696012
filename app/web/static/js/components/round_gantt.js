// The Gantt of one round: the one under way, or any other that is picked.
import { get } from "../api.js";
import { Gantt } from "../charts/gantt.js";
import { Icon } from "../icons.js";
import { setQuery } from "../router.js";
import { html, useEffect, useRef, useState } from "../ui.js";
import { useNow } from "../now.js";
import { Card, Empty, Failure, Skeleton } from "./bits.js";

const AT_MOST_EVERY_MS = 1_000;

export function RoundGantt({ snapshot, query, level }) {
  const { run, current, rounds } = snapshot;
  const newest = current?.server_round || run.current_round || run.rounds_completed;
  const picked = Number(query.round) || 0;
  const round = Math.min(Math.max(1, picked || newest), Math.max(1, newest));
  const known = rounds.find((each) => each.server_round === round);
  const follow = !picked && round === newest;
  const { updates, error, round: drawn } = useRoundUpdates(run.run_id, newest && round, follow ? `${current?.phase}|${current?.answered}|${known?.state}` : (known?.state ?? ""));
  const elapsed = useElapsed(known, current, round);
  const title = `Round ${drawn || round}`;
  const tools = html`<span class="stepper">
    <button type="button" class="btn-plain" aria-label="Earlier round" disabled=${round <= 1} onClick=${() => setQuery({ round: round - 1 })}><${Icon} name="left" size=${14} /></button>
    <button type="button" class="btn-plain" aria-label="Later round" disabled=${round >= newest} onClick=${() => setQuery({ round: round + 1 >= newest ? "" : round + 1 })}><${Icon} name="right" size=${14} /></button>
    ${picked ? html`<button type="button" class="btn-plain" onClick=${() => setQuery({ round: "" })}>newest</button>` : null}
  </span>`;
  if (!newest) return html`<${Card} title="Rounds"><${Empty} title="No round yet" icon="clock"><p>A line for each client appears when the first round opens.</p></${Empty}></${Card}>`;
  if (error) return html`<${Card} title=${title}><${Failure} error=${error} /></${Card}>`;
  if (!updates) return html`<${Card} title=${title} aside=${tools}><${Skeleton} lines=${6} /></${Card}>`;
  if (!updates.length) return html`<${Card} title=${title} aside=${tools}><${Empty} title="Nobody was asked in this round yet" icon="clock" /></${Card}>`;
  return html`<${Gantt} title="${title}: who worked when" updates=${updates} seconds=${elapsed} tools=${tools} level=${level} />`;
}

function useElapsed(known, current, round) {
  const open = known && known.state !== "closed" && known.state !== "failed" && current?.server_round === round;
  const now = useNow(open ? 1000 : 3_600_000);
  return open && known.started_ts ? Math.max(0, now / 1000 - known.started_ts) : 0;
}

/** The last answer stays until the next one is there: a fast run would else be a flicker of grey bars. */
function useRoundUpdates(runId, round, change) {
  const [answer, setAnswer] = useState({ updates: null, error: null, round: 0 });
  const asked = useRef(0);
  useEffect(() => {
    if (!round) return undefined;
    let gone = false;
    const ask = () => {
      asked.current = Date.now();
      fetchRound();
    };
    const fetchRound = () => get(`/runs/${encodeURIComponent(runId)}/rounds/${round}`).then(
      ({ updates }) => gone || setAnswer({ updates: lastAttempt(updates), error: null, round }),
      (error) => gone || setAnswer((old) => (error.status === 404 ? { updates: [], error: null, round } : old.round === round && old.updates ? old : { updates: null, error, round })),
    );
    const timer = setTimeout(ask, Math.max(0, asked.current + AT_MOST_EVERY_MS - Date.now()));
    return () => {
      gone = true;
      clearTimeout(timer);
    };
  }, [runId, round, change]);
  return answer;
}

function lastAttempt(updates) {
  const last = Math.max(0, ...updates.map((update) => update.attempt));
  return updates.filter((update) => update.attempt === last);
}
