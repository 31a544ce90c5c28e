/** What the person has chosen; remembered on this device. */

const KEY = "pykaldi-server/settings";

const DEFAULTS = {
  model: "", // "": the server's default
  microphone: "", // "": the browser's default
  keepsTranscripts: true,
  learnsVoice: true,
  wantsReadings: false,
  splitsChannels: false,
  hasShortcuts: true,
};

export class Settings {
  #values;
  #storage;
  #listeners = [];

  #onFull;

  /**
   * @param {Storage|null} storage  null where the browser has none for this page
   * @param {() => void} [onFull]  called when there is no room to remember them
   */
  constructor(storage, onFull = () => {}) {
    this.#storage = storage;
    this.#onFull = onFull;
    let stored = {};
    try {
      stored = JSON.parse(storage?.getItem(KEY) ?? "{}");
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      storage.removeItem(KEY);
    }
    this.#values = { ...DEFAULTS, ...stored };
  }

  get(name) {
    return this.#values[name];
  }

  set(name, value) {
    this.#values[name] = value;
    // First, because what they do may make room.
    for (const listener of this.#listeners) listener(name, value);
    if (this.#storage && !store(this.#storage, KEY, this.#values)) this.#onFull();
  }

  onChange(listener) {
    this.#listeners.push(listener);
  }
}

/** Writes an entry, as JSON; false if there is no room for it. */
export function store(storage, key, value) {
  try {
    storage.setItem(key, JSON.stringify(value));
    return true;
  } catch (error) {
    if (!(error instanceof DOMException && error.name === "QuotaExceededError")) throw error;
    return false;
  }
}

/** The browser's storage, or null where pages may have none. */
export function deviceStorage() {
  try {
    localStorage.getItem(KEY);
    return localStorage;
  } catch (error) {
    if (error instanceof DOMException) return null;
    throw error;
  }
}
