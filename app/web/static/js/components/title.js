// The page's heading: the document's title follows it.
import { html, useEffect } from "../ui.js";

export function PageTitle({ title, children, lead }) {
  useEffect(() => {
    document.title = `${title} · Constellation`;
  }, [title]);
  return html`<div class="page-head">
    <div>
      <h1 class="page-title" tabindex="-1">${title}</h1>
      ${lead && html`<p class="page-lead">${lead}</p>`}
    </div>
    ${children && html`<div class="page-tools">${children}</div>`}
  </div>`;
}
