"""The screen stays on while something is being written down, in a real browser with its own locks."""

from pathlib import Path

from browser import Browser, open_browser
from harness import Harness

# Keeps every lock that the browser gives, and lets the test hide the page, which headless browsers never do.
OBSERVE = """
window.locks = [];
window.visibility = "visible";
const request = navigator.wakeLock.request.bind(navigator.wakeLock);
navigator.wakeLock.request = async (kind) => {
  const lock = await request(kind);
  window.locks.push(lock);
  return lock;
};
Object.defineProperty(document, "visibilityState", { get: () => window.visibility });
window.show = (state) => {
  window.visibility = state;
  document.dispatchEvent(new Event("visibilitychange"));
};
import(new URL("screen.js", document.querySelector("script[type=module]").src)).then((screen) => {
  window.keepAwake = screen.keepAwake;
});
"""
HELD = "window.locks.filter((each) => !each.released).length"


async def wait_for_locks(browser: Browser, held: int, given: int) -> None:
    await browser.wait_for(f"{HELD} === {held} && window.locks.length === {given}")


def test_the_screen_stays_on_while_the_page_is_seen_and_at_work(harness: Harness, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with (
            harness.master(default_model="english") as master,
            open_browser(master.url + "/", tmp_path) as browser,
        ):
            await browser.evaluate(f"(() => {{ {OBSERVE} }})()")
            await browser.wait_for("window.keepAwake !== undefined")
            await browser.evaluate("window.keepAwake(true)")
            await wait_for_locks(browser, held=1, given=1)
            await browser.evaluate("window.keepAwake(true)")
            # The browser takes the lock away from a page that is hidden; one that is shown again asks again.
            await browser.evaluate("window.visibility = 'hidden'; window.locks[0].release()")
            await wait_for_locks(browser, held=0, given=1)
            await browser.evaluate("window.show('hidden')")
            await browser.evaluate("window.show('visible')")
            await wait_for_locks(browser, held=1, given=2)
            # Switched off and on at once: the end of the old lock is not taken for that of the new one.
            await browser.evaluate(
                "window.locks[1].addEventListener('release', () => window.keepAwake(true))"
            )
            await browser.evaluate("window.keepAwake(false); window.keepAwake(true)")
            await wait_for_locks(browser, held=1, given=3)
            await browser.evaluate("window.keepAwake(false)")
            await wait_for_locks(browser, held=0, given=3)

    harness.run(scenario)
