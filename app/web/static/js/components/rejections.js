// Updates that were refused, newest first, each with its reason in words.
import { plural } from "../format.js";
import { html } from "../ui.js";
import { phaseText, reasonText, titleCase } from "../words.js";
import { Ago, Empty } from "./bits.js";

/** `grouped`: one entry for each client and reason, so many at the most. */
export function Rejections({ rejections, grouped = 0 }) {
  if (!rejections.length) {
    return html`<${Empty} title="Nothing was refused" icon="shield"><p>Updates that fail a check appear here with the reason. Try <code>--attack forge:1</code>.</p></${Empty}>`;
  }
  const entries = grouped ? groupsOf(rejections).slice(0, grouped) : rejections.map((newest) => ({ newest, times: 1 }));
  return html`<ul class="feed">
    ${entries.map(
      ({ newest, times }) => html`<li key=${`${newest.server_round}/${newest.attempt}/${newest.phase}/${newest.client}/${newest.ts}`}>
        <p class="feed-head">
          <strong>${newest.client || "unknown sender"}</strong>
          <span class="tag tone-bad">${newest.reason}</span>
          ${times > 1 ? html`<span class="faint">${plural(times, "time")}</span>` : null}
          <span class="feed-time">round ${newest.server_round}${grouped ? "" : `, ${phaseText(newest.phase).split(" ")[0].toLowerCase()}`} · <${Ago} ts=${newest.ts} /></span>
        </p>
        <p class="feed-text">${reasonText(newest.reason) || titleCase(newest.reason)}.${newest.detail ? html` <span class="faint">${newest.detail}</span>` : null}</p>
      </li>`,
    )}
  </ul>`;
}

function groupsOf(rejections) {
  const groups = new Map();
  for (const each of rejections) {
    const key = `${each.client}\u0000${each.reason}`;
    if (groups.has(key)) groups.get(key).times += 1;
    else groups.set(key, { newest: each, times: 1 });
  }
  return [...groups.values()];
}
