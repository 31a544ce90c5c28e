/** The microphone button: from asking for the microphone to the end of the recording. */

import { byId, setText } from "./dom.js";
import { microphoneFailure } from "./failures.js";
import { LEVEL_HINTS, LevelWatch, loudness } from "./level.js";
import { isOver } from "./machine.js";
import { Microphone } from "./microphone.js";
import { notice, withdraw } from "./notices.js";
import { Recording } from "./source.js";

export class Recorder {
  #desk;
  #settings;
  #about;
  #entry = null;
  #microphone = null;
  #watch = null;
  #onChooseMicrophone;

  /**
   * @param {import("./desk.js").Desk} desk
   * @param {import("./settings.js").Settings} settings
   * @param {() => object} about  model and language for a new take
   * @param {() => void} onChooseMicrophone  opens the settings
   */
  constructor(desk, settings, about, onChooseMicrophone) {
    this.#desk = desk;
    this.#settings = settings;
    this.#about = about;
    this.#onChooseMicrophone = onChooseMicrophone;
  }

  get isOn() {
    return this.#entry !== null;
  }

  toggle() {
    if (this.isOn) this.stop();
    else this.start();
  }

  async start() {
    withdraw("microphone");
    const at = new Date();
    const title = `Recording, ${at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })}`;
    const entry = this.#desk.add({ title, kind: "microphone", ...this.#about() });
    const microphone = new Microphone();
    this.#entry = entry;
    this.#microphone = microphone;
    this.#watch = null;
    this.#show();
    const recording = await this.#open(microphone, entry);
    if (recording) entry.job.begin(recording);
  }

  /** Opens and starts the microphone; returns what it records, or null, and nothing is left open. */
  async #open(microphone, entry) {
    try {
      await microphone.open(this.#settings.get("microphone"));
      if (isOver(entry.job.state)) {
        await microphone.stop(); // it was given up while the browser was asking
        return null;
      }
      const recording = new Recording(microphone.rateHz);
      microphone.start((samples, peak) => this.#take(recording, samples, peak), () => this.#unplugged());
      entry.source = recording;
      this.#watch = new LevelWatch(performance.now());
      return recording;
    } catch (error) {
      await this.#end(microphone);
      if (isOver(entry.job.state)) return null; // nobody waits for it any more
      const { text, remedy } = microphoneFailure(error);
      notice("microphone", `${text} ${remedy}`, { isFailure: true });
      if (error.name === "OverconstrainedError") this.#settings.set("microphone", "");
      this.#desk.remove(entry);
      return null;
    }
  }

  #unplugged() {
    notice("microphone", "The microphone was unplugged or taken away. What was said until then is kept.", {
      isFailure: true,
    });
    this.stop();
  }

  /** Records no more; what has been said will still be recognised. */
  async stop() {
    const entry = this.#entry;
    if (!entry) return;
    const { job } = entry;
    const microphone = this.#microphone;
    this.#entry = this.#microphone = null;
    this.#show();
    if (job.state.phase === "asking") {
      job.stop();
      this.#desk.remove(entry);
      return;
    }
    try {
      await microphone.stop();
    } finally {
      job.stop();
    }
  }

  /** The job has changed: when it is over by itself, so is the recording. */
  follow(entry, change) {
    if (entry !== this.#entry) return;
    if (change.segment) this.#watch?.heard(performance.now());
    if (isOver(entry.job.state)) this.#end(this.#microphone);
  }

  async #end(microphone) {
    if (this.#microphone === microphone) this.#entry = this.#microphone = null;
    this.#show();
    await microphone.stop();
  }

  #take(recording, samples, peak) {
    recording.append(samples, peak);
    if (this.#entry?.source !== recording) return;
    byId("microphone").style.setProperty("--level", loudness(peak).toFixed(3));
    this.#hint(this.#watch.add(peak, performance.now()));
  }

  /** To be called now and then: notices a microphone that gives nothing at all. */
  check() {
    if (this.#entry && this.#watch) this.#hint(this.#watch.check(performance.now()));
  }

  #hint(hint) {
    const action = { text: "Choose microphone", onClick: this.#onChooseMicrophone };
    if (hint) notice("level", LEVEL_HINTS[hint], { action });
    else withdraw("level");
  }

  #show() {
    const button = byId("microphone");
    button.setAttribute("aria-pressed", String(this.isOn));
    setText(byId("microphone-label"), this.isOn ? "Stop the microphone" : "Start the microphone");
    if (this.isOn) return;
    button.style.setProperty("--level", "0");
    withdraw("level");
  }
}
