/** Files that are dropped anywhere on the page. */

import { byId } from "./dom.js";

/** @param {(files: File[]) => void} onFiles */
export function acceptDrops(onFiles) {
  for (const type of ["dragenter", "dragover"]) {
    addEventListener(type, (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      byId("drop-hint").hidden = false;
    });
  }
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) byId("drop-hint").hidden = true;
  });
  addEventListener("drop", (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    byId("drop-hint").hidden = true;
    onFiles([...event.dataTransfer.files]);
  });
}
