// Sign in with the one-use code: from the link's hash, which no server and no log sees, or typed.
import { post } from "../api.js";
import { Failure } from "../components/bits.js";
import { PageTitle } from "../components/title.js";
import { say } from "../dialog.js";
import { info, refreshInfo, signOut } from "../info.js";
import { reconnect } from "../live.js";
import { navigate } from "../router.js";
import { useStore } from "../store.js";
import { html, useEffect, useState } from "../ui.js";

function takeCode() {
  const code = new URLSearchParams(location.hash.slice(1)).get("code") ?? "";
  if (location.hash) history.replaceState(null, "", location.pathname); // a used code has no business in the history
  return code;
}

export default function Login() {
  const known = useStore(info);
  const [code, setCode] = useState("");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  const signIn = async (given) => {
    setBusy(true);
    setError(null);
    try {
      await post("/session", { code: given.trim() });
      await refreshInfo();
      reconnect();
      say("Signed in: you may start and steer runs.");
      navigate("/", { replace: true });
    } catch (failed) {
      setError(failed);
    }
    setBusy(false);
  };
  useEffect(() => {
    const fromLink = takeCode();
    if (fromLink) signIn(fromLink);
  }, []);
  const submit = (event) => {
    event.preventDefault();
    signIn(code);
  };
  if (known?.signed_in) {
    return html`<${PageTitle} title="Sign in" /><section class="card-box login"><p>You are signed in.</p><div class="actions"><a class="btn btn-primary" href="/">Overview</a><button type="button" class="btn btn-outline-secondary" onClick=${signOut}>Sign out</button></div></section>`;
  }
  return html`<${PageTitle} title="Sign in" />
    <section class="card-box login" aria-labelledby="login-how">
      <h2 class="card-title" id="login-how">With the one-use link</h2>
      <p>${known?.hint || "Open the login link that the terminal printed when the dashboard started. It works once, for ten minutes."}</p>
      ${error ? html`<${Failure} error=${error.status === 401 ? Object.assign(new Error(error.message), { status: 400 }) : error} />` : null}
      <form onSubmit=${submit}>
        <label class="form-label" for="code">Code <span class="faint">what stands after <code>#code=</code></span></label>
        <div class="actions">
          <input id="code" class="form-control" autocomplete="one-time-code" spellcheck="false" required value=${code} onInput=${(event) => setCode(event.target.value)} />
          <button class="btn btn-primary" disabled=${busy || !code.trim()}>${busy ? "Signing in …" : "Sign in"}</button>
        </div>
      </form>
    </section>`;
}
