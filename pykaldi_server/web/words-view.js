/** The words of a take on the page: a paragraph per segment, and what is being said below them. */

import { clockTime, make, setText } from "./dom.js";
import { channelName } from "./take.js";

export class WordsView {
  #log;
  #live;
  #paragraphs = new Map(); // by segment
  #segments = new WeakMap(); // by paragraph
  #spoken = null;

  /**
   * @param {string} title  of the take
   * @param {string} language  of its words; "" where that is not known
   */
  constructor(title, language) {
    this.#log = make("div.words", { role: "log", "aria-label": `Words of ${title}`, lang: language });
    this.#live = make("div.live", { lang: language, "aria-live": "off" });
    this.#log.addEventListener("keydown", (event) => this.#moveFocus(event));
  }

  get elements() {
    return [this.#log, this.#live];
  }

  /** Shows a segment at its place in time: those of several channels may come out of order. */
  add(segment) {
    const paragraph = this.#paragraph(segment);
    let before = this.#log.lastElementChild;
    while (before && startOf(this.#segments.get(before)) > startOf(segment)) before = before.previousElementSibling;
    if (before) before.after(paragraph);
    else this.#log.prepend(paragraph);
    this.#ensureTabStop();
  }

  /** Shows a segment again, whose words have changed. */
  refresh(segment) {
    const old = this.#paragraphs.get(segment);
    old.replaceWith(this.#paragraph(segment));
    this.#ensureTabStop();
  }

  /** Shows what is being said, and what had been said when the connection went. */
  showLive(take) {
    const lines = [
      ...[...take.unfinished].map(([channel, text]) => ({ channel, text, isUnfinished: true })),
      ...[...take.partials].map(([channel, text]) => ({ channel, text, isUnfinished: false })),
    ].sort((a, b) => (a.channel ?? 0) - (b.channel ?? 0));
    while (this.#live.childElementCount > lines.length) this.#live.lastElementChild.remove();
    while (this.#live.childElementCount < lines.length) this.#live.append(make("p", {}, make("span"), " ", make("small")));
    lines.forEach(({ channel, text, isUnfinished }, index) => {
      const paragraph = this.#live.children[index];
      paragraph.className = isUnfinished ? "unfinished" : "partial";
      setText(paragraph.firstElementChild, channel === null ? text : `${channelName(channel)}: ${text}`);
      setText(paragraph.lastElementChild, isUnfinished ? "unfinished" : "");
    });
  }

  /** The segment and the number of the word that an element shows; null if it shows none. */
  wordAt(element) {
    const span = element.closest?.(".word");
    const segment = span && this.#segments.get(span.parentElement);
    return segment ? { span, segment, index: [...span.parentElement.querySelectorAll(".word")].indexOf(span) } : null;
  }

  /** Marks the word that is being heard; null marks none. */
  markSpoken(segment, index) {
    this.#spoken?.classList.remove("spoken");
    this.#spoken = segment ? this.spanOf(segment, index) : null;
    this.#spoken?.classList.add("spoken");
  }

  /** The element of a word. */
  spanOf(segment, index) {
    return this.#paragraphs.get(segment)?.querySelectorAll(".word")[index] ?? null;
  }

  #paragraph(segment) {
    const time = make("time", { textContent: clockTime(startOf(segment)) });
    const paragraph = make("p", {}, time);
    if (segment.channel !== null) {
      paragraph.dataset.channel = segment.channel % 6;
      paragraph.append(" ", make("span.channel", { textContent: channelName(segment.channel) }));
    }
    if (segment.words.length === 0) paragraph.append(` ${segment.text}`);
    for (const word of segment.words) paragraph.append(" ", wordElement(word));
    this.#paragraphs.set(segment, paragraph);
    this.#segments.set(paragraph, segment);
    return paragraph;
  }

  #ensureTabStop() {
    if (!this.#log.querySelector('.word[tabindex="0"]')) this.#log.querySelector(".word")?.setAttribute("tabindex", "0");
  }

  /** The words are one stop of the Tab key; the arrow keys go from word to word. */
  #moveFocus(event) {
    const span = event.target.closest(".word");
    if (!span || event.altKey || event.ctrlKey || event.metaKey) return;
    const find = {
      ArrowRight: () => neighbour(span, "next", "first"),
      ArrowLeft: () => neighbour(span, "previous", "last"),
      Home: () => this.#log.querySelector(".word"),
      End: () => [...this.#log.querySelectorAll(".word")].at(-1),
    }[event.key];
    const target = find?.();
    if (!target) return;
    event.preventDefault();
    span.tabIndex = -1;
    target.tabIndex = 0;
    target.focus();
  }
}

const startOf = (segment) => segment.words[0]?.startS ?? segment.startS;

function wordElement({ text, startS, endS, confidence, isCorrected }) {
  const sure = isCorrected ? "corrected by you" : `${Math.round(100 * confidence)} % sure`;
  const span = make("span.word", { textContent: text, tabIndex: -1, role: "button", "aria-haspopup": "dialog" });
  span.dataset.details = `${startS.toFixed(2)} – ${endS.toFixed(2)} s, ${sure}`;
  span.style.setProperty("--confidence", confidence.toFixed(3));
  span.classList.toggle("doubtful", confidence < 0.5);
  span.classList.toggle("corrected", Boolean(isCorrected));
  return span;
}

/** The next word, or the one before, in this paragraph or a neighbouring one. */
function neighbour(span, direction, end) {
  const sibling = `${direction}ElementSibling`;
  if (span[sibling]?.matches(".word")) return span[sibling];
  for (let paragraph = span.parentElement[sibling]; paragraph; paragraph = paragraph[sibling]) {
    const words = paragraph.querySelectorAll(".word");
    if (words.length) return end === "first" ? words[0] : words[words.length - 1];
  }
  return null;
}
