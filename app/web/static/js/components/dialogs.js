// The dialogs of the shell: a question, the list of shortcuts, and messages in the corner.
import { hush, messages, question } from "../dialog.js";
import { Icon } from "../icons.js";
import { SHORTCUTS, shortcuts } from "../keys.js";
import { useStore } from "../store.js";
import { html, useEffect, useRef } from "../ui.js";

function Modal({ title, close, children }) {
  const dialog = useRef();
  useEffect(() => {
    const before = document.activeElement;
    dialog.current.showModal();
    return () => before?.focus?.();
  }, []);
  const outside = (event) => event.target === dialog.current && close();
  return html`<dialog class="modal-box" ref=${dialog} aria-labelledby="dialog-title" onCancel=${close} onClick=${outside}>
    <div class="modal-inner"><h2 id="dialog-title">${title}</h2>${children}</div>
  </dialog>`;
}

export function Question() {
  const asked = useStore(question);
  if (!asked) return null;
  return html`<${Modal} key=${asked.title} title=${asked.title} close=${() => asked.answer(false)}>
    <p>${asked.text}</p>
    <div class="actions actions-end">
      <button type="button" class="btn btn-outline-secondary" onClick=${() => asked.answer(false)}>Cancel</button>
      <button type="button" class="btn ${asked.danger ? "btn-stop-solid" : "btn-primary"}" onClick=${() => asked.answer(true)}>${asked.confirm}</button>
    </div>
  </${Modal}>`;
}

export function ShortcutList() {
  const { open, on } = useStore(shortcuts);
  if (!open) return null;
  const close = () => shortcuts.set((old) => ({ ...old, open: false }));
  return html`<${Modal} title="Keyboard shortcuts" close=${close}>
    <dl class="keys">
      ${SHORTCUTS.map(
        ({ keys, text }) => html`<div key=${text}>
          <dt>${keys.map((key) => html`<kbd>${key}</kbd>`)}</dt>
          <dd>${text}</dd>
        </div>`,
      )}
    </dl>
    <label class="form-check">
      <input type="checkbox" class="form-check-input" checked=${on} onChange=${(event) => shortcuts.turn(event.target.checked)} />
      <span class="form-check-label">Single keys work as shortcuts</span>
    </label>
    <div class="actions actions-end"><button type="button" class="btn btn-primary" onClick=${close}>Close</button></div>
  </${Modal}>`;
}

export function Messages() {
  const shown = useStore(messages);
  return html`<div class="messages" role="log" aria-label="Messages" aria-live="polite">
    ${shown.map(
      ({ id, text, tone }) => html`<div key=${id} class="message tone-${tone}">
        <${Icon} name=${tone === "bad" ? "cross" : "check"} />
        <p>${text}</p>
        <button type="button" class="btn-plain" aria-label="Close message" onClick=${() => hush(id)}><${Icon} name="cross" size=${14} /></button>
      </div>`,
    )}
  </div>`;
}
