/** The window around the page: where it is scrolled to, whether the screen stays on, and leaving. */

const NEAR_END_PX = 240;

/** Makes a change; who was reading the newest words still sees them, who was reading elsewhere stays there. */
export function keepEndInView(change) {
  const root = document.documentElement;
  const wasAtEnd = root.scrollHeight - root.clientHeight - root.scrollTop < NEAR_END_PX;
  change();
  if (wasAtEnd) scrollTo({ top: root.scrollHeight });
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
