/** What is known of the word under the pointer or with the focus: it goes with the word, and when the page moves. */

import { byId } from "./dom.js";

const GAP_PX = 6;
const EDGE_PX = 8;

/** @param {HTMLElement} root  has elements with `data-details` */
export function showDetailsIn(root) {
  const tooltip = byId("word-details");
  let shown = null;

  function show(target) {
    if (!target.dataset?.details) return;
    hide();
    shown = target;
    tooltip.textContent = target.dataset.details;
    tooltip.hidden = false;
    target.setAttribute("aria-describedby", tooltip.id);
    follow();
  }

  function follow() {
    if (!shown) return;
    const word = shown.getBoundingClientRect();
    if (word.bottom < 0 || word.top > innerHeight) {
      hide();
      return;
    }
    const left = word.left + word.width / 2 - tooltip.offsetWidth / 2;
    const above = word.top - tooltip.offsetHeight - GAP_PX;
    tooltip.style.left = `${Math.max(EDGE_PX, Math.min(left, innerWidth - tooltip.offsetWidth - EDGE_PX))}px`;
    tooltip.style.top = `${above >= 0 ? above : word.bottom + GAP_PX}px`;
  }

  function hide() {
    tooltip.hidden = true;
    shown?.removeAttribute("aria-describedby");
    shown = null;
  }

  root.addEventListener("pointerover", (event) => show(event.target));
  root.addEventListener("pointerout", hide);
  root.addEventListener("focusin", (event) => show(event.target));
  root.addEventListener("focusout", hide);
  root.addEventListener("keydown", (event) => event.key === "Escape" && hide());
  addEventListener("scroll", follow, { passive: true });
  addEventListener("resize", follow);
  // A word that is taken away leaves nothing behind.
  new MutationObserver(() => shown && !shown.isConnected && hide()).observe(root, { childList: true, subtree: true });
}
