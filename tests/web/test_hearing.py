"""Words and sound on the page, in a real browser: play, click, correct, choose."""

import json
from pathlib import Path
from typing import Any

from browser import Browser, open_browser
from harness import Harness, Socket
from web_events import WORKER, activity, final, position, shows

WORDS = "[...document.querySelectorAll('.word')]"
WATCH_SPOKEN = """
window.spoken = new Set();
new MutationObserver((changes) => {
  for (const { target } of changes) if (target.matches('.spoken')) spoken.add(target.textContent);
}).observe(document.getElementById('takes'), { subtree: true, attributes: true, attributeFilter: ['class'] });
"""
PANEL = "document.getElementById('word-panel')"


async def recognise(worker: Socket, *events: dict[str, Any]) -> dict[str, Any]:
    """Reads a request to its end and answers with these events; returns how it began."""
    init = await worker.read_json()
    while await worker.read() != "EOS":
        pass
    for event in events:
        await worker.send(event)
    await worker.send(position(10**6, 9.0, is_end=True))
    return init


async def pointer(browser: Browser, element: str) -> None:
    """A real click in the middle of an element."""
    box = await browser.evaluate(
        f"(() => {{ const box = {element}.getBoundingClientRect(); "
        "return [box.x + box.width / 2, box.y + box.height / 2] })()"
    )
    for kind in ("mousePressed", "mouseReleased"):
        await browser.command(
            "Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1
        )


def test_words_are_heard_corrected_and_sent(harness: Harness, golden: Path, tmp_path: Path) -> None:
    recording = golden / "wav" / "ps-librivox-0880.wav"
    said = final([("he", 0.2, 0.3, 1.0), ("was", 0.5, 0.3, 0.9), ("knot", 0.8, 0.3, 0.4)], 0.0, 2.0)
    said["result"]["hypotheses"] += [{"transcript": "he was not"}, {"transcript": "she was not"}]

    async def scenario() -> None:
        async with harness.master() as master, open_browser(master.url, tmp_path) as browser:
            worker = await harness.worker(master, WORKER)
            await browser.evaluate("document.querySelector('[data-setting=wantsReadings]').click()")
            await browser.choose_files(recording)
            init = await recognise(worker, said)
            assert (init["content_type"], init["options"]) == ("audio/wav", {"num-nbest": 5})
            await browser.wait_for(activity("Ready"))
            await browser.wait_for("document.querySelectorAll('.track .segment').length === 1")
            await browser.wait_for("document.querySelector('.track .sound')?.getAttribute('d').length > 1000")

            await browser.evaluate(WATCH_SPOKEN)
            await pointer(browser, f"{WORDS}[2]")
            await browser.wait_for(f"!{PANEL}.hidden")
            await browser.wait_for("spoken.has('knot')")
            await browser.wait_for("document.querySelector('.spoken') === null")  # it ends with the word
            await browser.wait_for("Number(document.querySelector('.track input').value) >= 1.1")

            await browser.evaluate("addEventListener('resize', () => { window.wasResized = true; })")
            await browser.look(width=500, height=500)  # as when a phone shows its keyboard
            await browser.wait_for("window.wasResized")
            assert not await browser.evaluate(f"{PANEL}.hidden")
            assert await browser.evaluate(f"{PANEL}.getBoundingClientRect().right") <= 500

            await browser.evaluate(f"{PANEL}.querySelector('input').value = 'not'")
            await browser.evaluate(f"{PANEL}.querySelector('form button').click()")
            await browser.wait_for(shows("he was not"))
            await browser.wait_for(
                "document.getElementById('notices').textContent.includes('the right text, too')"
            )
            (line,) = (tmp_path / "references.jsonl").read_text().splitlines()
            reference = json.loads(line)
            assert (reference["content"], reference["content_id"]) == ("he was not\n", init["content_id"])

            await browser.evaluate(f"{WORDS}[0].focus()")
            await browser.press("Enter", "\r")
            await browser.wait_for(f"!{PANEL}.hidden && {PANEL}.contains(document.activeElement)")
            readings = f"[...{PANEL}.querySelectorAll('li button')]"
            await browser.evaluate(f"{readings}.find((each) => each.textContent === 'she was not').click()")
            await browser.wait_for(shows("she was not"))
            assert await browser.evaluate("document.activeElement.textContent") == "she"
            await browser.reload()
            await browser.wait_for(shows("she was not"))

    harness.run(scenario)


def test_a_recording_can_be_played_with_the_keyboard_alone(
    harness: Harness, golden: Path, tmp_path: Path
) -> None:
    recording = golden / "wav" / "ps-librivox-0870.wav"
    pause = "document.querySelector('.player button').ariaLabel"

    async def scenario() -> None:
        async with harness.master() as master, open_browser(master.url, tmp_path, recording) as browser:
            worker = await harness.worker(master, WORKER)
            await browser.wait_for("document.getElementById('status').dataset.state === 'free'")
            await browser.press("r", "r")
            await worker.read_json()
            received = 0
            while received < 64000:
                message = await worker.read()
                assert isinstance(message, bytes)
                received += len(message)
            await worker.send(final([("one", 0.2, 0.3, 1.0), ("two", 0.5, 0.3, 0.9)], 0.0, 2.0))
            await browser.wait_for(shows("one two"))
            await browser.press("r", "r")
            while await worker.read() != "EOS":
                pass
            await worker.send(position(10**6, 2.0, is_end=True))
            await browser.wait_for("document.querySelector('.track .sound') !== null")
            await browser.press(" ", " ")
            await browser.wait_for("Number(document.querySelector('.track input').value) > 0")
            await browser.press(" ", " ")
            await browser.wait_for(f"{pause}.startsWith('Play')")
            await browser.press("?", "?")
            await browser.wait_for("document.getElementById('shortcuts').open")
            assert "Start or stop the microphone" in await browser.text("shortcuts")
            await browser.press("r", "r")  # the page behind the list hears nothing
            assert await browser.text("activity") == "Ready"
            await browser.evaluate("document.querySelector('#shortcuts button').click()")
            await browser.evaluate("document.querySelector('[data-setting=hasShortcuts]').click()")
            await browser.press("?", "?")
            assert not await browser.evaluate("document.getElementById('shortcuts').open")

    harness.run(scenario)


def test_channels_have_lanes(harness: Harness, golden: Path, tmp_path: Path) -> None:
    recording = golden / "wav" / "ps-librivox-0880.wav"
    late = {**final([("late", 0.0, 0.5, 1.0)], 2.0, 1.0), "channel": 0}
    early = {**final([("early", 0.0, 0.5, 1.0)], 0.0, 1.0), "channel": 1}

    async def scenario() -> None:
        async with harness.master() as master, open_browser(master.url, tmp_path) as browser:
            worker = await harness.worker(master, WORKER)
            await browser.evaluate("document.querySelector('[data-setting=splitsChannels]').click()")
            await browser.choose_files(recording)
            init = await recognise(worker, late, early)
            assert init["options"] == {"channels": "split"}
            await browser.wait_for(f"{WORDS}.length === 2")
            assert await browser.evaluate(f"{WORDS}.map((word) => word.textContent)") == ["early", "late"]
            assert "Channel 2 early" in " ".join((await browser.text("takes")).split())

    harness.run(scenario)
