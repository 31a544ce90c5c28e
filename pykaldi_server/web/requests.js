/** How the page asks the server for recognition: the address of a request, and what is known of the speaker's voice. */

import { Recognizer } from "./recognizer.js";

const MOST_READINGS = 5;

export class Requests {
  #settings;
  #voices = new Map(); // by model; kept until the page is left

  /** @param {import("./settings.js").Settings} settings */
  constructor(settings) {
    this.#settings = settings;
  }

  /** Starts a request for a take; `handlers` are those of `Recognizer`. */
  connect({ take, source }, handlers) {
    const isFile = take.kind === "file";
    const options = {
      ...(this.#settings.get("wantsReadings") ? { "num-nbest": MOST_READINGS } : {}),
      ...(take.splitsChannels ? { channels: "split" } : {}),
    };
    const query = {
      "content-type": source.contentType,
      "content-id": take.id,
      model: take.model,
      options: Object.keys(options).length ? JSON.stringify(options) : "",
    };
    const knowsVoice = !isFile && this.#settings.get("learnsVoice");
    return new Recognizer(query, knowsVoice ? (this.#voices.get(take.model) ?? null) : null, handlers);
  }

  /** Keeps what the server has learned of the speaker of a take. */
  learn(take, adaptationState) {
    if (take.kind === "microphone" && this.#settings.get("learnsVoice")) this.#voices.set(take.model, adaptationState);
  }

  forgetVoice() {
    this.#voices.clear();
  }
}
