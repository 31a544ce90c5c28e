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

  /** @param {Storage|null} storage  null where the browser has none for this page */
  constructor(storage) {
    this.#storage = storage;
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
    this.#storage?.setItem(KEY, JSON.stringify(this.#values));
    for (const listener of this.#listeners) listener(name, value);
  }

  onChange(listener) {
    this.#listeners.push(listener);
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
