// What was refused and why: counts by reason, then each refusal; and what privacy is left.
import { get } from "../../api.js";
import { Card, Empty, Failure, Meter } from "../../components/bits.js";
import { Privacy } from "../../components/privacy.js";
import { Rejections } from "../../components/rejections.js";
import { count } from "../../format.js";
import { setQuery } from "../../router.js";
import { html, useEffect, useState } from "../../ui.js";
import { reasonText } from "../../words.js";
import { EpsilonChart } from "./summary.js";

const PAGE = 50;
const SNAPSHOT_REFUSALS = 50; // as many come with a snapshot: fewer are all there are

export default function Security({ snapshot, query }) {
  const { run, privacy, rounds } = snapshot;
  const reasons = Object.entries(run.rejections);
  const chosen = query.reason ?? "";
  return html`
    <div class="grid-2 grid-wide-left">
      <${Card} title="Refusals by reason" aside=${chosen ? html`<button type="button" class="btn-plain" onClick=${() => setQuery({ reason: "" })}>Show all</button>` : null}>
        ${reasons.length
          ? html`<ul class="reasons">
              ${reasons.map(
                ([reason, number]) => html`<li key=${reason}>
                  <button type="button" class="reason" aria-pressed=${chosen === reason} onClick=${() => setQuery({ reason: chosen === reason ? "" : reason })}>
                    <span class="reason-name">${reason}</span><span class="reason-count">${count(number)}</span>
                    <${Meter} value=${number} max=${reasons[0][1]} label="${number} refusals" tone="bad" />
                    <span class="reason-text">${reasonText(reason)}</span>
                  </button>
                </li>`,
              )}
            </ul>`
          : html`<${Empty} title="Nothing was refused" icon="shield"><p>${count(run.updates_accepted)} updates passed every check. To see refusals, start a run with an attack: <code>--attack forge:1</code>.</p></${Empty}>`}
      </${Card}>
      <${Card} title="Privacy budget"><${Privacy} privacy=${privacy} long=${true} /></${Card}>
    </div>
    ${reasons.length ? html`<${Feed} run=${run} reason=${chosen} newest=${snapshot.rejections} />` : null}
    <${EpsilonChart} rounds=${rounds} />
  `;
}

function Feed({ run, reason, newest }) {
  const [page, setPage] = useState({ items: null, cursor: null, error: null });
  const load = async (cursor) => {
    try {
      const answer = await get(`/runs/${encodeURIComponent(run.run_id)}/updates`, { state: "rejected", reason, limit: PAGE, cursor });
      setPage((old) => ({ items: cursor ? [...old.items, ...answer.items] : answer.items, cursor: answer.next_cursor, error: null }));
    } catch (error) {
      setPage((old) => ({ ...old, error }));
    }
  };
  // The newest come with the live data; the list is asked for only where one looks further or for one reason.
  const whole = !reason && newest.length < SNAPSHOT_REFUSALS;
  useEffect(() => {
    if (!whole) load();
  }, [reason, whole, whole ? 0 : run.updates_rejected]);
  const items = whole ? newest : (page.items ?? newest.filter((update) => !reason || update.reason === reason));
  return html`<${Card} title=${reason ? `Refused as ${reason}` : "Every refusal, newest first"}>
    ${page.error ? html`<${Failure} error=${page.error} retry=${() => load()} />` : null}
    <${Rejections} rejections=${items} />
    ${!whole && page.cursor ? html`<button type="button" class="btn btn-sm btn-outline-secondary" onClick=${() => load(page.cursor)}>Older refusals</button>` : null}
  </${Card}>`;
}
