/** The window around the page: where it is scrolled to, whether the screen stays on, and leaving. */

const NEAR_END_PX = 240;

let isAtEnd = true;
let isPlanned = false;
let lastY = 0;

addEventListener(
  "scroll",
  () => {
    // Upwards only the reader scrolls; what is added later in this frame must not count as scrolling away.
    if (scrollY < lastY || !isPlanned) {
      const root = document.documentElement;
      isAtEnd = root.scrollHeight - root.clientHeight - scrollY < NEAR_END_PX;
    }
    lastY = scrollY;
  },
  { passive: true },
);

/** The page has grown: who was reading the newest words sees them, who was reading elsewhere stays there. */
export function keepEndInView() {
  if (!isAtEnd || isPlanned) return;
  isPlanned = true;
  // Once per frame, however many words come: a long page takes time to lay out.
  requestAnimationFrame(() => {
    isPlanned = false;
    if (isAtEnd) scrollTo({ top: document.documentElement.scrollHeight });
  });
}

let lock = null;
let isWanted = false;

/** Keeps the screen on while something is being written down, where the browser can. */
export async function keepAwake(wanted) {
  isWanted = wanted;
  if (!("wakeLock" in navigator)) return;
  if (!wanted) {
    const held = lock;
    lock = null;
    await held?.release();
  } else if (!lock && document.visibilityState === "visible") {
    lock = { release() {} }; // is being asked for
    try {
      const got = await navigator.wakeLock.request("screen");
      got.addEventListener("release", () => (lock = null));
      if (isWanted) lock = got;
      else await got.release();
    } catch (error) {
      lock = null; // such as with an empty battery: then the screen goes off as ever
      if (!(error instanceof DOMException)) throw error;
    }
  }
}

document.addEventListener("visibilitychange", () => keepAwake(isWanted));

/** Has the browser ask before the page is left while something would be lost. */
export function warnBeforeLeaving(wouldLose) {
  addEventListener("beforeunload", (event) => {
    if (wouldLose()) event.preventDefault();
  });
}
