/** Saving and copying of transcripts. Subtitles are made by the server, which has the one writer of them. */

import { post } from "./addresses.js";
import { button, make } from "./dom.js";
import { notice, withdraw } from "./notices.js";
import { fileName, takeData, takeTable, takeText } from "./writing.js";

const FORMS = {
  txt: { label: "Text (.txt)", type: "text/plain", write: takeText },
  srt: { label: "Subtitles (.srt)", type: "application/x-subrip", write: (take) => subtitles(take, "srt") },
  vtt: { label: "Subtitles for the web (.vtt)", type: "text/vtt", write: (take) => subtitles(take, "vtt") },
  json: {
    label: "Data (.json)",
    type: "application/json",
    write: (take) => `${JSON.stringify(takeData(take), null, 1)}\n`,
  },
  csv: { label: "Table (.csv)", type: "text/csv", write: takeTable },
};

/**
 * A menu of the forms in which a take can be saved.
 *
 * @param {import("./take.js").Take} take
 * @param {() => object|null} sourceOf  its audio, if that is still there
 */
export function downloadsMenu(take, sourceOf) {
  const items = Object.keys(FORMS).map((ending) => item(FORMS[ending].label, () => download(take, ending)));
  if (take.kind === "microphone" && sourceOf()) {
    items.push(item("Sound (.wav)", () => save(sourceOf().blob(), `${fileName(take)}.wav`)));
  }
  const summary = make("summary", { textContent: "Download", "aria-label": `Download: ${take.title}` });
  const menu = make("details.menu", {}, summary, make("div.menu-items", {}, ...items));
  const close = () => menu.removeAttribute("open");
  menu.addEventListener("click", (event) => event.target.closest("button") && close());
  menu.addEventListener("focusout", (event) => menu.contains(event.relatedTarget) || close());
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.open) return;
    event.stopPropagation();
    close();
    summary.focus();
  });
  return menu;

  function item(label, onClick) {
    // Buttons do not get the focus by a click in all browsers; without it the menu would close before the click.
    return button(label, onClick, { onpointerdown: (event) => event.preventDefault() });
  }
}

async function download(take, ending) {
  const { type, write } = FORMS[ending];
  const name = `${fileName(take)}.${ending}`;
  withdraw("download");
  try {
    save(new Blob([await write(take)], { type }), name);
  } catch (error) {
    notice("download", `${name} was not made: ${error.message}. Subtitles need the server; try again when it is there.`, {
      isFailure: true,
    });
  }
}

async function subtitles(take, format) {
  const answer = await post(`client/dynamic/subtitles?format=${format}`, JSON.stringify(takeData(take)), {
    "Content-Type": "application/json",
  });
  return answer.text();
}

function save(blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** Copies text; where the browser does not let the page, says what to do. */
export async function copyText(text) {
  try {
    if (navigator.clipboard) await navigator.clipboard.writeText(text);
    else copyBySelection(text);
    notice("copy", "Copied.", { lastsMs: 4000 });
  } catch (error) {
    notice("copy", `The browser does not let the page copy (${error.message}). Download the text instead.`, {
      isFailure: true,
    });
  }
}

/** For pages without https, which have no clipboard. */
function copyBySelection(text) {
  const area = make("textarea.visually-hidden", { value: text });
  const focused = document.activeElement;
  document.body.append(area);
  area.select();
  const isCopied = document.execCommand("copy");
  area.remove();
  focused?.focus();
  if (!isCopied) throw new Error("it refuses");
}
