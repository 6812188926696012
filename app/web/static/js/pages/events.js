// Everything that happened, newest first, as it happens.
import { get } from "../api.js";
import { Card, Empty, Failure, Skeleton } from "../components/bits.js";
import { PageTitle } from "../components/title.js";
import { clock, count, dateTime } from "../format.js";
import { Icon } from "../icons.js";
import { subscribe } from "../live.js";
import { setQuery, useQuery } from "../router.js";
import { html, useEffect, useRef, useState } from "../ui.js";
import { EVENT_TONES, EVENT_TYPES, eventText, titleCase } from "../words.js";

const PAGE = 200;
const MOST = 1000; // events the page keeps
const GROUPS = {
  refusals: ["update-rejected", "update-late", "update-capped"],
  rounds: ["round-started", "round-closed", "phase-started", "phase-ended", "model-evaluated", "clients-evaluated"],
  runs: ["run-started", "run-waiting", "run-paused", "run-resumed", "run-ended"],
  updates: ["update-received", "update-accepted", "client-identified"],
};

export default function Events() {
  const [query] = useQuery();
  const { type = "", run = "", q = "" } = query;
  const [frozen, setFrozen] = useState(false);
  const { events, error, waiting, more, reload, release } = useEvents({ type, run, frozen });
  const typing = useRef(0);
  const shown = events && q ? events.filter((event) => `${event.type} ${eventText(event)} ${event.run}`.toLowerCase().includes(q.toLowerCase())) : events;
  const later = (key) => (event) => {
    const text = event.target.value;
    clearTimeout(typing.current);
    typing.current = setTimeout(() => setQuery({ [key]: text }), 250);
  };
  const toggle = () => {
    if (frozen) release();
    setFrozen(!frozen);
  };
  return html`
    <${PageTitle} title="Events"><button type="button" class="btn btn-outline-secondary" aria-pressed=${frozen} onClick=${toggle}><${Icon} name=${frozen ? "play" : "pause"} />${frozen ? `Go on${waiting ? ` (${count(waiting)} new)` : ""}` : "Hold still"}</button></${PageTitle}>
    <div class="toolbar" role="search">
      <div class="segments" role="group" aria-label="Kind of event">
        <button type="button" aria-pressed=${!type} onClick=${() => setQuery({ type: "" })}>All</button>
        ${Object.entries(GROUPS).map(([name, types]) => html`<button key=${name} type="button" aria-pressed=${type === types.join(",")} onClick=${() => setQuery({ type: types.join(",") })}>${titleCase(name)}</button>`)}
      </div>
      <label><span class="visually-hidden">Type of event</span>
        <select class="form-select" onChange=${(event) => setQuery({ type: event.target.value })}>
          <option value="">Any type</option>
          ${EVENT_TYPES.map((name) => html`<option key=${name} value=${name} selected=${name === type}>${name}</option>`)}
        </select>
      </label>
      <label class="search search-small"><span class="visually-hidden">Run</span><${Icon} name="list" /><input class="form-control" placeholder="Run id" value=${run} onInput=${later("run")} /></label>
      <label class="search search-small"><span class="visually-hidden">Search events</span><${Icon} name="search" /><input type="search" class="form-control" placeholder="Search what is loaded" value=${q} onInput=${later("q")} /></label>
    </div>
    ${error ? html`<${Failure} error=${error} retry=${reload} />` : null}
    ${!shown && !error ? html`<${Skeleton} lines=${8} />` : null}
    ${shown && !shown.length
      ? html`<section class="card-box"><${Empty} title=${type || run || q ? "No event matches" : "Nothing has happened yet"} icon="events">
          ${type || run || q ? html`<button type="button" class="btn btn-outline-secondary" onClick=${() => setQuery({ type: "", run: "", q: "" })}>Clear the filters</button>` : html`<p>Events appear here as soon as a run starts. <a href="/runs/new">Start one</a>.</p>`}
        </${Empty}></section>`
      : null}
    ${shown?.length ? html`<section class="card-box card-flush" aria-label="Events, newest first"><ol class="events">${shown.map((event) => html`<${Line} key=${event.id} event=${event} />`)}</ol></section>` : null}
    ${events && more ? html`<div class="actions actions-center"><button type="button" class="btn btn-outline-secondary" onClick=${more}>Older events</button></div>` : null}
  `;
}

function Line({ event }) {
  const { tone = "quiet", icon = "dot" } = EVENT_TONES[event.type] ?? {};
  const [open, setOpen] = useState(false);
  return html`<li class="event tone-${tone}">
    <span class="event-icon"><${Icon} name=${icon} size=${14} /></span>
    <time title=${dateTime(event.ts)}>${clock(event.ts)}</time>
    <span class="event-type">${event.type}</span>
    <span class="event-text">${eventText(event)}</span>
    <a class="event-run" href="/runs/${encodeURIComponent(event.run)}">${event.run}</a>
    <button type="button" class="btn-plain" aria-expanded=${open} onClick=${() => setOpen(!open)}>${open ? "less" : "more"}<span class="visually-hidden"> of event ${event.id}</span></button>
    ${open ? html`<pre class="event-data" tabindex="0">${JSON.stringify(event.data, null, 2)}</pre>` : null}
  </li>`;
}

function useEvents({ type, run, frozen }) {
  const [list, setList] = useState({ events: null, error: null, oldest: true });
  const [waiting, setWaiting] = useState([]);
  const held = useRef({ frozen: false, lastId: 0, ready: false });
  held.current.frozen = frozen;
  const wanted = `${type}|${run}`;
  const latest = useRef(wanted);
  latest.current = wanted;
  const types = new Set(type.split(",").filter(Boolean));
  const fits = (event) => (!types.size || types.has(event.type)) && (!run || event.run === run);
  const add = (items) => {
    const fresh = items.filter(fits);
    for (const { id } of items) held.current.lastId = Math.max(held.current.lastId, id);
    if (!fresh.length) return;
    if (held.current.frozen) setWaiting((old) => [...old, ...fresh].slice(-MOST));
    else setList((old) => (old.events ? { ...old, events: joined(old.events, fresh) } : old));
  };
  const load = async () => {
    try {
      const answer = await get("/events", { type, run, limit: PAGE, newest_first: true });
      if (latest.current !== wanted) return;
      held.current.lastId = Math.max(held.current.lastId, answer.last_id ?? 0);
      setWaiting([]);
      setList({ events: [...answer.items].sort((a, b) => b.id - a.id), error: null, oldest: answer.items.length < PAGE });
    } catch (error) {
      setList((old) => ({ ...old, error }));
    }
  };
  useEffect(() => {
    let leave = () => {};
    let gone = false;
    load().then(() => {
      if (gone) return;
      leave = subscribe("events", {
        seq: () => held.current.lastId,
        onUpdate: (message) => message.type === "events" && add(message.data.items),
        poll: load,
      });
    });
    return () => {
      gone = true;
      leave();
    };
  }, [wanted]);
  const more = async () => {
    // Ids are without gaps enough to page by: what lies before the oldest one shown.
    const before = list.events.at(-1)?.id ?? 0;
    const after = Math.max(0, before - 1 - PAGE * (types.size || run ? 10 : 1));
    try {
      const answer = await get("/events", { type, run, limit: PAGE, after });
      const older = answer.items.filter(({ id }) => id < before);
      setList((old) => ({ ...old, events: joined(old.events, older), oldest: after === 0 }));
    } catch (error) {
      setList((old) => ({ ...old, error }));
    }
  };
  const release = () => {
    setList((old) => ({ ...old, events: joined(old.events ?? [], waiting) }));
    setWaiting([]);
  };
  return { ...list, waiting: waiting.length, more: list.oldest ? null : more, reload: load, release };
}

function joined(events, others) {
  const byId = new Map([...events, ...others].map((event) => [event.id, event]));
  return [...byId.values()].sort((a, b) => b.id - a.id).slice(0, MOST);
}
