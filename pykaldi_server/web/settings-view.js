/** The dialog of the settings: model, language, microphone and switches. */

import { byId, setText } from "./dom.js";
import { languageName, languageOf } from "./language.js";
import { microphones } from "./microphone.js";

export class SettingsView {
  #settings;
  #models = [];
  #languages = {};
  #default = "";

  /**
   * @param {import("./settings.js").Settings} settings
   * @param {() => void} onForgetVoice
   */
  constructor(settings, onForgetVoice) {
    this.#settings = settings;
    byId("settings-open").addEventListener("click", () => this.open());
    byId("language").addEventListener("change", () => this.#chooseLanguage());
    byId("model").addEventListener("change", () => this.#choose("model", byId("model").value));
    byId("device").addEventListener("change", () => this.#choose("microphone", byId("device").value));
    for (const input of document.querySelectorAll("[data-setting]")) {
      input.checked = settings.get(input.dataset.setting);
      input.addEventListener("change", () => settings.set(input.dataset.setting, input.checked));
    }
    byId("forget-voice").addEventListener("click", () => {
      onForgetVoice();
      setText(byId("forget-voice"), "Forgotten");
    });
    navigator.mediaDevices?.addEventListener?.("devicechange", () => this.#offerMicrophones());
  }

  async open() {
    setText(byId("forget-voice"), "Forget my voice");
    if (!byId("settings").open) byId("settings").showModal();
    await this.#offerMicrophones();
  }

  /** The model for the next take: what was chosen if the server has it, else the server's default; "" if it says none. */
  get model() {
    const chosen = this.#settings.get("model");
    if (this.#models.includes(chosen)) return chosen;
    return this.#models.includes(this.#default) ? this.#default : (this.#models[0] ?? "");
  }

  get language() {
    return languageOf(this.model, this.#languages);
  }

  /**
   * @param {object} status  of the server. A model whose workers have all just ended a request is missing for a moment, and
   *     stays offered.
   * @param {boolean} isNew  the server has been away, and may have others now
   */
  offerModels(status, isNew) {
    const known = isNew ? [] : this.#models;
    this.#models = [...new Set([...known, ...Object.keys(status.models ?? {}).filter(Boolean)])].sort();
    this.#languages = status.languages ?? {};
    this.#default = status.default_model ?? "";
    this.#show();
  }

  #show() {
    const tagOf = (model) => languageOf(model, this.#languages);
    const tags = [...new Set(this.#models.map(tagOf))].sort();
    byId("language-choice").hidden = tags.length < 2;
    fill(byId("language"), tags.map((tag) => [tag, languageName(tag)]), this.language);
    const models = this.#models.filter((model) => tags.length < 2 || tagOf(model) === this.language);
    fill(byId("model"), models.length ? models.map((each) => [each, each]) : [["", "the server’s model"]], this.model);
    setText(byId("model-name"), this.model || "Settings");
  }

  #choose(name, value) {
    this.#settings.set(name, value);
    this.#show();
  }

  #chooseLanguage() {
    const model = this.#models.find((each) => languageOf(each, this.#languages) === byId("language").value);
    this.#choose("model", model ?? "");
  }

  async #offerMicrophones() {
    const found = await microphones();
    const named = found.map((each, index) => [each.deviceId, each.label || `Microphone ${index + 1}`]);
    const options = named.some(([id]) => id === "default") ? named : [["", "The browser’s choice"], ...named];
    fill(byId("device"), options, this.#settings.get("microphone") || options[0][0]);
  }
}

/** Offers options in a select, without touching it if they are there already. */
function fill(select, options, value) {
  const known = [...select.options].map((option) => `${option.value} ${option.text}`).join("\n");
  if (known !== options.map((option) => option.join(" ")).join("\n")) {
    select.replaceChildren(...options.map(([each, text]) => new Option(text, each)));
  }
  select.value = value;
}
