// An address that leads nowhere.
import { Empty } from "../components/bits.js";
import { PageTitle } from "../components/title.js";
import { html } from "../ui.js";

export default function NotFound() {
  return html`<${PageTitle} title="Page not found" />
    <section class="card-box"><${Empty} title="Nothing is at this address" icon="search"><p>Go to the <a href="/">overview</a> or to <a href="/runs">all runs</a>.</p></${Empty}></section>`;
}
