// Questions and short messages, one place on the page for each.
import { createStore } from "./store.js";

export const question = createStore(null);
export const messages = createStore([]);
let number = 0;

/** Ask before something that cannot be undone; resolves to true or false. */
export function ask({ title, text, confirm, danger = false }) {
  return new Promise((resolve) => {
    question.set({
      title,
      text,
      confirm,
      danger,
      answer(yes) {
        question.set(null);
        resolve(yes);
      },
    });
  });
}

const SHOWN_MS = 6_000;

/** Say something in the corner; errors stay until they are closed. */
export function say(text, tone = "good") {
  number += 1;
  const id = number;
  messages.set((old) => [...old.slice(-3), { id, text, tone }]);
  if (tone !== "bad") setTimeout(() => hush(id), SHOWN_MS);
}

export const hush = (id) => messages.set((old) => old.filter((message) => message.id !== id));
