/** The keys of the page, and the list of them. They can be switched off in the settings. */

import { byId, make } from "./dom.js";

const KEYS = [
  { key: "r", shown: "R", text: "Start or stop the microphone", run: ({ toggleMicrophone }) => toggleMicrophone() },
  { key: "o", shown: "O", text: "Open files", run: ({ openFiles }) => openFiles() },
  { key: " ", shown: "Space", text: "Play, or pause", run: ({ togglePlay }) => togglePlay() },
  { shown: "← →", text: "From word to word" },
  { shown: "Enter", text: "Hear a word, correct it, see other readings" },
  { key: "s", shown: "S", text: "Settings", run: ({ openSettings }) => openSettings() },
  { key: "?", shown: "?", text: "This list", run: () => byId("shortcuts").showModal() },
  { shown: "Esc", text: "Close what is open" },
];

/** @param {object} actions  what the keys do  @param {() => boolean} areOn */
export function listenToKeys(actions, areOn) {
  fillList();
  addEventListener("keydown", (event) => {
    if (!areOn() || event.defaultPrevented || event.ctrlKey || event.altKey || event.metaKey) return;
    if (isUsedBy(event.target, event.key) || document.querySelector("dialog[open]")) return;
    const found = KEYS.find(({ key }) => key === event.key.toLowerCase());
    if (!found) return;
    // A key that has nothing to do keeps its meaning: the space bar scrolls.
    if (found.run(actions) !== false) event.preventDefault();
  });
}

/** Whether a key means something to the element that has the focus. */
function isUsedBy(target, key) {
  if (target.closest?.("input:not([type=range]), select, textarea")) return true;
  return key === " " && Boolean(target.closest?.("button, summary, a, [type=range]"));
}

function fillList() {
  const rows = KEYS.flatMap(({ shown, text }) => [
    make("dt", {}, make("kbd", { textContent: shown })),
    make("dd", { textContent: text }),
  ]);
  byId("shortcuts").append(
    make("h2", { id: "shortcuts-title", textContent: "Keyboard" }),
    make("dl.keys", {}, ...rows),
    make("form", { method: "dialog" }, make("button.primary", { textContent: "Done" })),
  );
}
