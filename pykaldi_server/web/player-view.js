/** The controls of one take's sound: play, the picture of the sound with a slider on it, and the time. */

import { button, clockTime, make } from "./dom.js";
import { draw, moveCursor, peaksOfFile, reduce } from "./waveform.js";

const COLUMNS = 600;
const STEP_S = 0.1;

export class PlayerView {
  element;

  #take;
  #source;
  #button;
  #slider;
  #picture = null;
  #time = make("time");
  #track;
  #durationS = 0;

  /**
   * @param {import("./take.js").Take} take
   * @param {object} source  of `source.js`, complete
   * @param {{toggle: () => void, seek: (timeS: number) => void}} actions
   */
  constructor(take, source, actions) {
    this.#take = take;
    this.#source = source;
    this.#button = button("▶", actions.toggle, { "aria-label": `Play: ${take.title}` });
    this.#slider = make("input", { type: "range", min: 0, max: 1, step: STEP_S, value: 0 });
    this.#slider.setAttribute("aria-label", `Place in ${take.title}`);
    this.#slider.addEventListener("input", () => actions.seek(Number(this.#slider.value)));
    this.#track = make("div.track", {}, this.#slider);
    this.element = make("div.player", { role: "group", "aria-label": "Sound" }, this.#button, this.#track, this.#time);
    this.#setDuration(take.segments.at(-1)?.endS ?? 0);
    this.#drawSound();
  }

  /** Shows whether it plays, and where it is. */
  show(timeS, durationS, isPlaying) {
    if (durationS) this.#setDuration(durationS);
    const label = isPlaying ? "❚❚" : "▶";
    if (this.#button.textContent !== label) {
      this.#button.textContent = label;
      this.#button.setAttribute("aria-label", `${isPlaying ? "Pause" : "Play"}: ${this.#take.title}`);
    }
    this.#slider.value = timeS;
    this.#slider.setAttribute("aria-valuetext", clockTime(timeS));
    this.#time.textContent = `${clockTime(timeS)} / ${clockTime(this.#durationS)}`;
    if (this.#picture && this.#durationS) moveCursor(this.#picture, Math.min(1, timeS / this.#durationS));
  }

  #setDuration(durationS) {
    this.#durationS = durationS;
    this.#slider.max = durationS || 1;
    this.#time.textContent = `0:00 / ${clockTime(durationS)}`;
  }

  async #drawSound() {
    const { peaks, durationS } = this.#source;
    const sound = peaks
      ? { lanes: [reduce(peaks, COLUMNS)], durationS }
      : ((await peaksOfFile(this.#source.blob())) ?? { lanes: [[0, 0]], durationS: this.#durationS });
    if (!sound.durationS) return;
    this.#setDuration(sound.durationS);
    const picture = draw(sound.lanes, sound.durationS, this.#take.segments);
    this.#picture?.remove();
    this.#track.prepend(picture);
    this.#picture = picture;
  }
}
