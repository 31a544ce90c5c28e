/** Small helpers to make elements. */

export const byId = (id) => document.getElementById(id);

/**
 * Makes an element.
 *
 * @param {string} tag  name, with classes after dots: "p.alert"
 * @param {object} properties  set as properties; those with a hyphen, and `role`, as attributes
 * @param {...(Node|string)} children
 */
export function make(tag, properties = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name);
  element.className = classes.join(" ");
  for (const [key, value] of Object.entries(properties)) {
    if (key.includes("-") || key === "role" || key === "for") element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children);
  return element;
}

/** A button with a text and what it does. */
export function button(text, onClick, properties = {}) {
  const element = make("button", { type: "button", textContent: text, ...properties });
  element.addEventListener("click", onClick);
  return element;
}

/** Sets a text only if it is another one: screen readers say what has changed. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** 75.3 is 1:15, 3675 is 1:01:15. */
export function clockTime(seconds) {
  const whole = Math.floor(seconds);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  const two = (value) => String(value).padStart(2, "0");
  return `${hours ? `${hours}:${two(minutes)}` : minutes}:${two(whole % 60)}`;
}

/** A name that no other take has, also where the page is not served over https. */
export function freshId() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
