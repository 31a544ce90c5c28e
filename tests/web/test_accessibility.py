"""The page for people who see, hear or move differently: axe-core finds no violation in any state and scheme.

axe-core comes from npm (`make setup-axe`); where it is missing, this is skipped.
"""

from pathlib import Path
from typing import Any

import pytest
from browser import Browser, open_browser
from harness import Harness
from web_events import PHASE, WORKER, by_take, final, partial, position, shows

pytestmark = pytest.mark.slow

AXE = Path(__file__).resolve().parents[2] / "build" / "axe" / "node_modules" / "axe-core" / "axe.min.js"
SCREENS: tuple[dict[str, Any], ...] = (
    {"dark": False},
    {"dark": True},
    {"dark": False, "width": 390, "height": 844, "phone": True},
    {"dark": True, "width": 390, "height": 844, "phone": True},
)
# Everything but what is in the middle of text may be hit by a finger.
SMALL_TARGETS = """
[...document.querySelectorAll('button, select, summary, .status-link')].filter((each) => {
  const box = each.getBoundingClientRect();
  return box.width > 0 && each.checkVisibility() && (box.width < 44 || box.height < 44);
}).map((each) => each.outerHTML)
"""


@pytest.fixture
def axe() -> str:
    if not AXE.is_file():
        pytest.skip("needs axe-core (make setup-axe)")
    return AXE.read_text()


async def check(browser: Browser, axe: str, state: str) -> None:
    """Looks at the page in all colour schemes and sizes."""
    if not await browser.evaluate("Boolean(window.axe)"):
        await browser.evaluate(axe + "; null")
    for screen in SCREENS:
        await browser.look(**screen)
        found = await browser.evaluate(
            "axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) => "
            "violations.map(({ id, help, nodes }) => [id, help, nodes.map(({ html }) => html)]))"
        )
        assert found == [], (state, screen, found)
        if screen.get("phone"):
            assert await browser.evaluate(SMALL_TARGETS) == [], (state, screen)
    await browser.look()


def test_no_violation_in_any_state(harness: Harness, golden: Path, tmp_path: Path, axe: str) -> None:
    recording = golden / "wav" / "ps-librivox-0880.wav"
    failing = tmp_path / "a picture.png"
    failing.write_bytes(recording.read_bytes())
    said = final([("one", 0.0, 0.5, 1.0), ("two", 0.5, 0.5, 0.3), ("three", 1.0, 0.5, 0.7)], 0.0, 2.0)
    said["result"]["hypotheses"].append({"transcript": "one too three"})

    async def scenario() -> None:
        async with harness.master() as master, open_browser(master.url, tmp_path, recording) as browser:
            await browser.wait_for("document.getElementById('status').dataset.state === 'busy'")
            await check(browser, axe, "the first sight")
            workers = [await harness.worker(master, WORKER) for _ in range(2)]
            await browser.choose_files(recording, failing, recording)
            worker, other = await by_take(browser, workers)
            await worker.send(said)
            await worker.send(partial("four five"))
            await worker.send(position(20000, 1.0))
            await other.send({"status": 3, "message": "expected audio, found a picture", "id": "x"})
            await browser.wait_for("document.querySelectorAll('.take .alert:not([hidden])').length > 0")
            await browser.wait_for(shows("four five"))
            await check(browser, axe, "a list of files: one at work, one failed, one waiting")
            worker.vanish()
            await browser.wait_for("document.querySelector('.unfinished') !== null")
            await check(browser, axe, "unfinished words")
            await browser.evaluate("document.querySelector('.take .take-actions button').click()")
            await browser.wait_for(f"{PHASE} === 'cancelled'")
            await browser.wait_for("document.querySelector('.track svg') !== null")
            await check(browser, axe, "cancelled, with its sound")

            await browser.evaluate("document.querySelector('.menu').open = true")
            await check(browser, axe, "the menu of downloads")
            await browser.evaluate("document.querySelector('.menu').open = false")
            await browser.evaluate("document.querySelector('.word').click()")
            await browser.wait_for("!document.getElementById('word-panel').hidden")
            for screen in SCREENS[:2]:
                await browser.look(**screen)
                await browser.evaluate("document.querySelector('.word').click()")
                await browser.wait_for("!document.getElementById('word-panel').hidden")
                found = await browser.evaluate(
                    "axe.run(document).then(({ violations }) => violations.map(({ id }) => id))"
                )
                assert found == [], ("the panel of a word", screen, found)
            await browser.evaluate("document.querySelector('.take [aria-label^=Remove]').click()")
            await browser.wait_for("document.querySelector('[data-key=undo]') !== null")
            await check(browser, axe, "undo")
            for name in ("settings", "shortcuts"):
                await browser.evaluate(f"document.getElementById('{name}').showModal()")
                await check(browser, axe, name)
                await browser.evaluate(f"document.getElementById('{name}').close()")

            await harness.worker(master, WORKER)
            await browser.click("microphone")
            await browser.wait_for("document.getElementById('microphone').ariaPressed === 'true'")
            await check(browser, axe, "the microphone is on")
            await browser.click("microphone")

    harness.run(scenario)


def test_no_violation_when_the_microphone_is_denied(harness: Harness, tmp_path: Path, axe: str) -> None:
    async def scenario() -> None:
        async with (
            harness.master() as master,
            open_browser(master.url, tmp_path, grants=False) as browser,
        ):
            await browser.click("microphone")
            await browser.wait_for("document.querySelector('#notices .alert') !== null")
            await check(browser, axe, "the microphone is denied")
            # What would be wrong is found.
            await browser.evaluate("document.querySelector('main').append(document.createElement('button'))")
            with pytest.raises(AssertionError, match="button-name"):
                await check(browser, axe, "a button without a name")

    harness.run(scenario)


def test_no_violation_when_a_token_is_wanted(harness: Harness, tmp_path: Path, axe: str) -> None:
    tokens = tmp_path / "tokens.yaml"
    tokens.write_text("clients: {anna: right-token-0123456789}\nworkers: {w: worker-token-0123456789}")

    async def scenario() -> None:
        async with harness.master(tokens=tokens) as master, open_browser(master.url, tmp_path) as browser:
            await browser.wait_for("document.getElementById('token-dialog') !== null")
            await check(browser, axe, "the question for a token")

    harness.run(scenario)


def test_no_violation_on_the_status_page(harness: Harness, tmp_path: Path, axe: str) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            await harness.worker(master, WORKER)
            async with open_browser(master.url + "/status", tmp_path) as browser:
                await browser.wait_for("document.getElementById('summary').dataset.state === 'free'")
                await check(browser, axe, "the status page")

    harness.run(scenario)
