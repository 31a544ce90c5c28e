/** Which language a model recognises, for `lang` attributes: as the server says, or as its name suggests. */

const CODES = "ar bg ca cs da de el en eo es et eu fa fi fr ga he hi hr hu is it ja kk ko lt lv nl nn no pl pt ro ru sk sl sv th tr uk uz vi zh";

/** @returns {string} a tag such as "en" or "en-GB"; "" if nothing is known */
export function languageOf(model, languages = {}) {
  if (languages[model]) return languages[model];
  const names = new Intl.DisplayNames(["en"], { type: "language" });
  const parts = model.toLowerCase().split(/[^\p{L}]+/u);
  const codes = CODES.split(" ");
  return codes.find((code) => parts.includes(names.of(code).toLowerCase())) ?? codes.find((code) => parts.includes(code)) ?? "";
}

/** What people call a language. */
export function languageName(tag) {
  return tag ? new Intl.DisplayNames(["en"], { type: "language" }).of(tag) : "Other languages";
}
