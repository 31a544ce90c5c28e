/** Transcripts that survive a reload: one entry of the browser's storage per take, without its audio. */

import { store } from "./settings.js";
import { Take } from "./take.js";

const PREFIX = "pykaldi-server/take/";
const SAVE_AFTER_MS = 1000;

export class Archive {
  #storage;
  #waiting = new Set();
  #timer = null;
  #onFull;

  /**
   * @param {Storage|null} storage
   * @param {() => void} onFull  called when there is no room left
   */
  constructor(storage, onFull) {
    this.#storage = storage;
    this.#onFull = onFull;
  }

  isOn = true;

  /** The takes that are kept, in the order in which they were begun. */
  load() {
    const takes = [];
    for (const key of this.#keys()) {
      try {
        takes.push(Take.fromJSON(JSON.parse(this.#storage.getItem(key))));
      } catch (error) {
        // Written by another version of the page: nothing of it can be shown.
        if (!(error instanceof SyntaxError || error instanceof TypeError)) throw error;
        this.#storage.removeItem(key);
      }
    }
    return takes.sort((a, b) => a.startedAt - b.startedAt);
  }

  /** Keeps a take soon; many changes are written once. */
  save(take) {
    if (!this.isOn || !this.#storage) return;
    this.#waiting.add(take);
    this.#timer ??= setTimeout(() => this.flush(), SAVE_AFTER_MS);
  }

  /** Writes what waits to be written. */
  flush() {
    clearTimeout(this.#timer);
    this.#timer = null;
    const takes = [...this.#waiting].filter((take) => !take.isEmpty);
    this.#waiting.clear();
    const tooLarge = takes.filter((take) => !store(this.#storage, PREFIX + take.id, take));
    if (tooLarge.length > 0) this.#onFull();
  }

  forget(take) {
    this.#waiting.delete(take);
    this.#storage?.removeItem(PREFIX + take.id);
  }

  forgetAll() {
    this.#waiting.clear();
    for (const key of this.#keys()) this.#storage.removeItem(key);
  }

  #keys() {
    return this.#storage ? Object.keys(this.#storage).filter((key) => key.startsWith(PREFIX)) : [];
  }
}
