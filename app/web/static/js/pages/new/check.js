// What the server says to the settings, a moment after the last key.
import { post } from "../../api.js";
import { useEffect, useState } from "../../ui.js";

const TYPING_MS = 300;

/** Call `ask(signal)` after the value has rested; only the newest answer counts. */
export function useRested(value, ask, restMs = TYPING_MS) {
  useEffect(() => {
    const stop = new AbortController();
    const timer = setTimeout(() => ask(stop.signal), restMs);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  }, [value]);
}

/** `allowed`: only who may start a run may ask what a setting would do, since some of them name files and code. */
export function useCheck(config, allowed) {
  const [answer, setAnswer] = useState({ errors: {}, warnings: [], toml: "", command: "", failed: null });
  useRested(`${allowed} ${JSON.stringify(config)}`, async (signal) => {
    if (!allowed) return;
    try {
      const { warnings, toml, command } = await post("/config/check", { config }, signal);
      setAnswer({ errors: {}, warnings, toml, command, failed: null });
    } catch (error) {
      if (error.name === "AbortError") return;
      const errors = error.status === 422 ? error.fields : {};
      setAnswer((old) => ({ ...old, errors, failed: Object.keys(errors).length ? null : error }));
    }
  });
  return answer;
}
