/** Joins words and sound: what is heard is marked, what is clicked is heard, what is corrected is sent. */

import { post } from "./addresses.js";
import { byId } from "./dom.js";
import { notice, withdraw } from "./notices.js";
import { Player } from "./player.js";
import { PlayerView } from "./player-view.js";
import { WordPanel } from "./word-panel.js";
import { takeText } from "./writing.js";

export class Hearing {
  #desk;
  #views;
  #settings;
  #player;
  #panel;
  #controls = new Map(); // by take

  /**
   * @param {import("./desk.js").Desk} desk
   * @param {Map<object, import("./take-view.js").TakeView>} views  by take
   * @param {import("./settings.js").Settings} settings
   */
  constructor(desk, views, settings) {
    this.#desk = desk;
    this.#views = views;
    this.#settings = settings;
    this.#player = new Player(
      (take, timeS) => this.#played(take, timeS),
      (take) => notice("player", `The browser cannot play ${take.title}. Its words can be read all the same.`, { isFailure: true }),
    );
    this.#panel = new WordPanel({
      hear: (word) => this.#hear(word),
      goOn: ({ take, segment, index }) => this.#play(take, segment.words[index].startS),
      correct: (word, text) => this.#change(word, () => word.take.correct(word.segment, word.index, text)),
      choose: (word, reading) => this.#change(word, () => word.take.choose(word.segment, reading)),
      wantReadings: () => settings.set("wantsReadings", true),
    });
    byId("takes").addEventListener("click", (event) => this.#clicked(event.target));
    byId("takes").addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !this.#clicked(event.target)) return;
      event.preventDefault();
      this.#panel.focus();
    });
  }

  /** Gives a take its controls as soon as its sound is complete. */
  offer({ take, source }) {
    if (this.#controls.has(take) || !source?.isComplete || source.size === 0) return;
    const controls = new PlayerView(take, source, {
      toggle: () => this.toggle(take),
      seek: (timeS) => this.#player.seek(take, source, timeS),
    });
    this.#controls.set(take, controls);
    this.#views.get(take)?.setExtras(controls.element);
  }

  /** Takes that have gone from the page are heard no more. */
  forgetOthers() {
    for (const take of this.#controls.keys()) {
      if (this.#views.has(take)) continue;
      this.#player.forget(take);
      this.#controls.delete(take);
    }
  }

  /** Plays or pauses: the take that was heard last, or else the last one on the page; false if there is none. */
  toggle(take = this.#player.take ?? [...this.#controls.keys()].at(-1)) {
    if (!take) return false;
    if (this.#player.isPlaying && this.#player.take === take) this.#player.pause();
    else this.#play(take);
    return true;
  }

  #play(take, fromS = null, untilS = Infinity) {
    const source = this.#desk.entryOf(take)?.source;
    if (!source?.isComplete) return;
    withdraw("player");
    this.#player.play(take, source, fromS, untilS);
  }

  #hear({ take, segment, index }) {
    const { startS, endS } = segment.words[index];
    this.#play(take, startS, endS);
  }

  #clicked(target) {
    for (const [take, view] of this.#views) {
      const found = view.element.contains(target) ? view.words.wordAt(target) : null;
      if (!found) continue;
      const word = { take, segment: found.segment, index: found.index };
      const canHear = this.#controls.has(take);
      if (canHear) this.#hear(word);
      this.#panel.open(found.span, word, { canHear, offersReadings: this.#settings.get("wantsReadings") });
      return true;
    }
    return false;
  }

  #played(take, timeS) {
    this.#controls.get(take)?.show(timeS, this.#player.durationS, this.#player.isPlaying);
    const at = this.#player.isPlaying ? take.wordAt(timeS) : null;
    this.#views.get(take)?.words.markSpoken(at?.segment ?? null, at?.index ?? 0);
  }

  async #change({ take, segment }, change) {
    change();
    const { words } = this.#views.get(take);
    words.refresh(segment);
    words.spanOf(segment, 0)?.focus();
    this.#desk.save(take);
    withdraw("correction");
    try {
      await post("client/dynamic/reference", takeText(take), { "Content-Id": take.id });
      notice("correction", "Corrected. The server has got the right text, too.", { lastsMs: 4000 });
    } catch (error) {
      notice("correction", `Corrected here; the server did not take it (${error.message}).`, { lastsMs: 15_000 });
    }
  }
}
