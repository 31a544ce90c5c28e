/** What can be done with a word: hear it, correct it, choose another reading of its sentence. */

import { button, byId, make } from "./dom.js";

const GAP_PX = 8;
const EDGE_PX = 12;

export class WordPanel {
  #panel = byId("word-panel");
  #actions;
  #span = null;

  /**
   * @param {object} actions  each gets the word: {take, segment, index}
   * @param {(word: object) => void} actions.hear
   * @param {(word: object) => void} actions.goOn
   * @param {(word: object, text: string) => void} actions.correct
   * @param {(word: object, reading: string) => void} actions.choose
   * @param {() => void} actions.wantReadings
   */
  constructor(actions) {
    this.#actions = actions;
    document.addEventListener("keydown", (event) => event.key === "Escape" && this.close());
    addEventListener("resize", () => this.#follow()); // a phone that shows its keyboard resizes the page
    document.addEventListener("focusin", ({ target }) => {
      if (!this.#panel.contains(target) && target !== this.#span) this.close();
    });
    document.addEventListener("pointerdown", ({ target }) => {
      if (!this.#panel.contains(target) && !target.closest?.(".word")) this.close();
    });
  }

  /**
   * @param {HTMLElement} span  the word on the page
   * @param {{take: object, segment: object, index: number}} word
   * @param {{canHear: boolean, offersReadings: boolean}} possible
   */
  open(span, word, { canHear, offersReadings }) {
    const { segment, index, take } = word;
    const { text } = segment.words[index];
    const input = make("input", { value: text, autocomplete: "off", spellcheck: true, lang: take.language });
    const form = make("form", {}, make("label", {}, "What was said", input), make("button", { textContent: "Correct" }));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const said = input.value.trim();
      this.close();
      if (said !== text) this.#actions.correct(word, said);
    });
    const hearing = [button("Hear it", () => this.#actions.hear(word)), button("Go on from here", () => this.#actions.goOn(word))];
    this.#panel.setAttribute("aria-label", `Word: ${text}`);
    this.#panel.replaceChildren(
      make("p", { textContent: span.dataset.details }),
      ...(canHear ? [make("div.buttons", {}, ...hearing)] : []),
      form,
      ...this.#readings(word, offersReadings),
    );
    this.#span = span;
    this.#panel.hidden = false;
    this.#place(span);
  }

  close() {
    if (this.#panel.hidden) return;
    const hadFocus = this.#panel.contains(document.activeElement);
    this.#panel.hidden = true;
    if (hadFocus && this.#span?.isConnected) this.#span.focus();
  }

  /** For who uses the keyboard: goes on inside the panel. */
  focus() {
    this.#panel.querySelector("button, input").focus();
  }

  #readings(word, offersReadings) {
    const { alternatives } = word.segment;
    if (alternatives.length === 0) {
      if (offersReadings) return [make("p", { textContent: "There are no other readings of this sentence." })];
      return [button("Offer other readings from now on", () => this.#wantReadings())];
    }
    const choose = (reading) => {
      this.close();
      this.#actions.choose(word, reading);
    };
    const items = alternatives.map((each) => make("li", {}, button(each, () => choose(each), { lang: word.take.language })));
    return [make("p", { textContent: "Other readings of this sentence:" }), make("ul", {}, ...items)];
  }

  #wantReadings() {
    this.#actions.wantReadings();
    this.close();
  }

  #follow() {
    if (this.#panel.hidden) return;
    if (this.#span.isConnected) this.#place(this.#span);
    else this.close();
  }

  /** Below the word, inside the page; it scrolls with the page. */
  #place(span) {
    const word = span.getBoundingClientRect();
    const left = Math.max(EDGE_PX, Math.min(word.left, innerWidth - this.#panel.offsetWidth - EDGE_PX));
    const room = document.querySelector(".dock").getBoundingClientRect().top - word.bottom;
    const isAbove = room < this.#panel.offsetHeight + GAP_PX && word.top > this.#panel.offsetHeight + GAP_PX;
    const top = isAbove ? word.top - this.#panel.offsetHeight - GAP_PX : word.bottom + GAP_PX;
    this.#panel.style.left = `${left + scrollX}px`;
    this.#panel.style.top = `${top + scrollY}px`;
  }
}
