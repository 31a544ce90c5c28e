/** The transcript: kept as data, shown as words with their confidence, saved as text or subtitles. */

export class Transcript {
  #root;
  #details;
  #takes = [];

  /**
   * @param {HTMLElement} root  where finals are shown
   * @param {HTMLElement} details  the tooltip for a word
   */
  constructor(root, details) {
    this.#root = root;
    this.#details = details;
    root.addEventListener("pointerover", (event) => this.#showDetails(event.target));
    root.addEventListener("pointerout", () => this.#hideDetails());
    root.addEventListener("focusin", (event) => this.#showDetails(event.target));
    root.addEventListener("focusout", () => this.#hideDetails());
    root.addEventListener("keydown", (event) => this.#moveFocus(event));
  }

  get isEmpty() {
    return this.#takes.every((take) => take.segments.length === 0);
  }

  /** Starts a new recording or file; its segments are added until the next one starts. */
  startTake(title) {
    const element = document.createElement("article");
    const heading = document.createElement("h2");
    heading.textContent = title;
    element.append(heading);
    this.#takes.push({ title, segments: [], element });
  }

  /** Adds the final result of a segment. */
  add(event) {
    const best = event.result.hypotheses[0];
    const startS = event["segment-start"] ?? 0;
    const words = (best["word-alignment"] ?? []).map((word) => ({
      text: word.word,
      startS: startS + word.start,
      endS: startS + word.start + word.length,
      confidence: word.confidence,
    }));
    const segment = {
      text: best.transcript,
      startS,
      endS: startS + (event["segment-length"] ?? 0),
      words,
    };
    const take = this.#takes.at(-1);
    take.segments.push(segment);
    if (!take.element.isConnected) this.#root.append(take.element);
    take.element.append(this.#paragraph(segment));
  }

  clear() {
    this.#takes = [];
    this.#root.replaceChildren();
    this.#hideDetails();
  }

  /** The words alone, one segment a line. */
  toText() {
    const takes = this.#takes.filter((take) => take.segments.length > 0);
    return takes.map((take) => take.segments.map((segment) => segment.text).join("\n")).join("\n\n") + "\n";
  }

  /** Subtitles in SubRip's format; later recordings follow the earlier ones in time. */
  toSubtitles() {
    let offsetS = 0;
    let number = 0;
    const lines = [];
    for (const take of this.#takes) {
      for (const { text, startS, endS, words } of take.segments) {
        const fromS = offsetS + (words[0]?.startS ?? startS);
        const toS = offsetS + (words.at(-1)?.endS ?? endS);
        lines.push(`${++number}`, `${subtitleTime(fromS)} --> ${subtitleTime(toS)}`, text, "");
      }
      offsetS += take.segments.at(-1)?.endS ?? 0;
    }
    return lines.join("\n");
  }

  #paragraph(segment) {
    const paragraph = document.createElement("p");
    const time = document.createElement("time");
    time.textContent = clockTime(segment.startS);
    paragraph.append(time);
    const isWhole = segment.words.map((word) => word.text).join(" ") === segment.text;
    if (!isWhole) {
      // A post-processor has rewritten the text, so that its words are not those that were aligned.
      paragraph.append(` ${segment.text}`);
      return paragraph;
    }
    for (const word of segment.words) {
      const element = document.createElement("span");
      element.className = "word";
      element.textContent = word.text;
      element.dataset.details =
        `${word.startS.toFixed(2)} – ${word.endS.toFixed(2)} s, ${Math.round(100 * word.confidence)} % sure`;
      element.style.setProperty("--confidence", word.confidence.toFixed(3));
      element.classList.toggle("doubtful", word.confidence < 0.5);
      element.tabIndex = this.#root.querySelector(".word") || paragraph.querySelector(".word") ? -1 : 0;
      paragraph.append(" ", element);
    }
    return paragraph;
  }

  #showDetails(target) {
    if (!target.dataset?.details) return;
    const details = this.#details;
    details.textContent = target.dataset.details;
    details.hidden = false;
    target.setAttribute("aria-describedby", details.id);
    const word = target.getBoundingClientRect();
    const left = word.left + word.width / 2 - details.offsetWidth / 2;
    details.style.left = `${Math.max(8, Math.min(left, innerWidth - details.offsetWidth - 8))}px`;
    details.style.top = `${word.top - details.offsetHeight - 6}px`;
  }

  #hideDetails() {
    this.#details.hidden = true;
    this.#root.querySelector("[aria-describedby]")?.removeAttribute("aria-describedby");
  }

  /** The words are one stop of the Tab key; the arrow keys go from word to word. */
  #moveFocus(event) {
    const words = [...this.#root.querySelectorAll(".word")];
    const at = words.indexOf(event.target);
    const target = {
      ArrowRight: words[at + 1],
      ArrowLeft: words[at - 1],
      Home: words[0],
      End: words.at(-1),
    }[event.key];
    if (at < 0 || !target) return;
    event.preventDefault();
    event.target.tabIndex = -1;
    target.tabIndex = 0;
    target.focus();
  }
}

/** 75.3 is 1:15. */
function clockTime(seconds) {
  const whole = Math.floor(seconds);
  const minutes = Math.floor(whole / 60);
  return `${minutes}:${String(whole % 60).padStart(2, "0")}`;
}

/** 75.3 is 00:01:15,300. */
function subtitleTime(seconds) {
  const ms = Math.round(1000 * seconds);
  const two = (value) => String(Math.floor(value)).padStart(2, "0");
  return `${two(ms / 3600000)}:${two((ms / 60000) % 60)}:${two((ms / 1000) % 60)},${String(ms % 1000).padStart(3, "0")}`;
}
