// What the run's process wrote, newest at the end, followed as long as one looks at the end.
import { get } from "../../api.js";
import { CopyButton, Empty, Failure, Skeleton } from "../../components/bits.js";
import { count } from "../../format.js";
import { Icon } from "../../icons.js";
import { setQuery } from "../../router.js";
import { LIVING } from "../../living.js";
import { html, useEffect, useLayoutEffect, useRef, useState } from "../../ui.js";

const LINES = 1000;
const AGAIN_MS = 2_000;

export default function Logs({ snapshot, query }) {
  const { run } = snapshot;
  const [lines, setLines] = useState(null);
  const [error, setError] = useState(null);
  const box = useRef();
  const atEnd = useRef(true);
  const living = LIVING.has(run.state);
  useEffect(() => {
    let gone = false;
    const load = async () => {
      try {
        const answer = await get(`/runs/${encodeURIComponent(run.run_id)}/logs`, { tail: LINES });
        if (!gone) setLines(answer.lines);
        if (!gone) setError(null);
      } catch (failed) {
        if (!gone) setError(failed);
      }
    };
    load();
    const timer = living ? setInterval(load, AGAIN_MS) : 0;
    return () => {
      gone = true;
      clearInterval(timer);
    };
  }, [run.run_id, living]);
  useLayoutEffect(() => {
    if (box.current && atEnd.current) box.current.scrollTop = box.current.scrollHeight;
  }, [lines, query.q]);
  const { q = "" } = query;
  if (error && !lines) return html`<${Failure} error=${error} />`;
  if (!lines) return html`<${Skeleton} lines=${8} />`;
  if (!lines.length) return html`<section class="card-box"><${Empty} title="No log" icon="list"><p>${run.origin === "dashboard" ? "The run's process has written nothing yet." : "This run was started in a terminal: what it writes is there. Its events are on the Events page."}</p></${Empty}></section>`;
  const shown = q ? lines.filter((line) => line.toLowerCase().includes(q.toLowerCase())) : lines;
  const watch = () => (atEnd.current = box.current.scrollTop + box.current.clientHeight > box.current.scrollHeight - 24);
  return html`
    <div class="toolbar">
      <label class="search"><span class="visually-hidden">Filter lines</span><${Icon} name="search" /><input type="search" class="form-control" placeholder="Filter lines" value=${q} onInput=${(event) => setQuery({ q: event.target.value })} /></label>
      <span class="toolbar-note">${count(shown.length)} lines${lines.length >= LINES ? ", the newest" : ""}</span>
      <${CopyButton} text=${shown.join("\n")} />
    </div>
    <pre class="log" ref=${box} onScroll=${watch} tabindex="0" role="log" aria-label="Log of the run">${shown.map((line, index) => html`<span key=${index} class=${toneOf(line)}>${line}\n</span>`)}</pre>
  `;
}

function toneOf(line) {
  if (/\b(ERROR|CRITICAL|Traceback)\b/.test(line)) return "log-bad";
  if (/\bWARN(ING)?\b/.test(line)) return "log-warn";
  return "";
}
