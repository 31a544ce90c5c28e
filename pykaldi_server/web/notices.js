/** Short messages above the controls, where the eye is: each has a key, and a new one takes the place of the old. */

import { button, byId, make } from "./dom.js";

const shown = new Map();

/**
 * @param {string} key  what it is about
 * @param {string} text
 * @param {object} [more]
 * @param {boolean} [more.isFailure]
 * @param {{text: string, onClick: () => void}} [more.action]
 * @param {number} [more.lastsMs]  after which it goes by itself
 * @param {boolean} [more.takesFocus]  for who has just removed what had the focus
 */
export function notice(key, text, { isFailure = false, action = null, lastsMs = 0, takesFocus = false } = {}) {
  const known = shown.get(key);
  if (known?.text === text) return;
  withdraw(key);
  const element = make(isFailure ? "div.notice.alert" : "div.notice", { role: isFailure ? "alert" : "status" });
  element.dataset.key = key;
  byId("notices").append(element);
  const close = button("×", () => withdraw(key), { "aria-label": "Close this message" });
  close.className = "close";
  const act = () => {
    withdraw(key);
    action.onClick();
  };
  // Added after the element itself, so that screen readers say it.
  element.append(make("p", { textContent: text }), ...(action ? [button(action.text, act)] : []), close);
  if (takesFocus) element.querySelector("button").focus();
  const timer = lastsMs ? setTimeout(() => withdraw(key), lastsMs) : null;
  shown.set(key, { text, element, timer });
}

/** What the message was about is over. */
export function withdraw(key) {
  const known = shown.get(key);
  if (!known) return;
  clearTimeout(known.timer);
  known.element.remove();
  shown.delete(key);
}
