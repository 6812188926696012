// The settings being chosen: defaults, then a preset or another run, then what was changed. The address holds all but the defaults.
import { get } from "../../api.js";
import { useQuery } from "../../router.js";
import { useEffect, useMemo, useState } from "../../ui.js";

const OWN = new Set(["preset", "from"]); // keys of the address that are not settings

export function useDraft(choices) {
  const [query, setQuery] = useQuery();
  const { base: other, error } = useOtherRun(query.from);
  const preset = choices.presets.find(({ name }) => name === query.preset);
  const base = useMemo(() => ({ ...choices.defaults, ...(preset?.config ?? {}), ...offered(other, choices.defaults) }), [choices, preset, other]);
  const changed = useMemo(() => {
    const values = {};
    for (const [key, text] of Object.entries(query)) {
      if (!OWN.has(key) && key in choices.defaults) values[key] = typed(text, choices.defaults[key]);
    }
    return values;
  }, [query, choices]);
  // A number is sent as it was typed when it is none: the server then names the field.
  const config = useMemo(() => ({ ...base, ...changed }), [JSON.stringify(base), JSON.stringify(changed)]);
  return {
    config,
    base,
    error,
    preset: preset?.name ?? "",
    from: query.from ?? "",
    isChanged: (key) => key in changed && changed[key] !== base[key],
    set(key, value) {
      setQuery({ [key]: value === base[key] ? "" : value === "" ? " " : String(value) });
    },
    choose(name) {
      const clear = Object.fromEntries(Object.keys(query).map((key) => [key, ""]));
      setQuery({ ...clear, preset: name });
    },
  };
}

/** A text of the address as the kind of the default; a lone space stands for "", which an address would drop. */
export function typed(text, fallback) {
  if (typeof fallback === "boolean") return text === "true";
  if (typeof fallback === "number") return text.trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : text;
  return text === " " ? "" : text;
}

/** Settings of another run that a new one may have: where it wrote is its own. */
function offered(config, defaults) {
  return Object.fromEntries(Object.entries(config ?? {}).filter(([key]) => key in defaults));
}

function useOtherRun(runId) {
  const [answer, setAnswer] = useState({ base: null, error: null });
  useEffect(() => {
    if (!runId) {
      setAnswer({ base: null, error: null });
      return undefined;
    }
    let gone = false;
    get(`/runs/${encodeURIComponent(runId)}/config`).then(
      ({ config }) => gone || setAnswer({ base: config, error: null }),
      (error) => gone || setAnswer({ base: null, error }),
    );
    return () => (gone = true);
  }, [runId]);
  return answer;
}
