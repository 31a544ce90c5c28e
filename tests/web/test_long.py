"""Long recordings on the page, in a real browser."""

import os
import signal
import wave
from pathlib import Path

import pytest
from browser import open_browser
from harness import Harness
from serve_process import running_serve
from web_events import PHASE, WORKER, activity, final, partial, position, shows

SEGMENTS = 720
WORDS_PER_SEGMENT = 28
SEGMENT_S = 10.0

pytestmark = pytest.mark.slow


def test_two_hours_cost_no_more_per_sentence_than_the_first_one(
    harness: Harness, golden: Path, tmp_path: Path
) -> None:
    words = [(f"word{index}", index * 0.3, 0.25, 0.9) for index in range(WORDS_PER_SEGMENT)]
    # How many elements come and go for a sentence, and how many of those at the end are laid out.
    watch = """
        window.touched = 0;
        new MutationObserver((records) => {
          for (const each of records) touched += each.addedNodes.length + each.removedNodes.length;
        }).observe(document.getElementById('takes'), { childList: true, subtree: true });
    """

    async def scenario() -> None:
        async with harness.master() as master, open_browser(master.url, tmp_path) as browser:
            worker = await harness.worker(master, WORKER)
            await browser.choose_files(golden / "wav" / "ps-librivox-0880.wav")
            await worker.read_json()
            while await worker.read() != "EOS":
                pass
            await browser.evaluate(f"{watch}; null")
            touched = []
            for number in range(SEGMENTS):
                await worker.send(partial("word0 word1"))
                await worker.send(final(words, number * SEGMENT_S, SEGMENT_S))
                if number % 60 == 59:
                    await browser.wait_for(f"document.querySelectorAll('.words p').length === {number + 1}")
                    touched.append(await browser.evaluate("touched"))
                    await browser.evaluate("touched = 0")
            assert max(touched[1:]) < 1.2 * touched[0], touched
            rendered = (
                "[...document.querySelectorAll('.words p')].filter((each) => "
                "each.querySelector('.word').checkVisibility({ contentVisibilityAuto: true })).length"
            )
            assert await browser.evaluate(rendered) < 100
            await worker.send(position(10**6, SEGMENTS * SEGMENT_S, is_end=True))
            await browser.wait_for(activity("Ready"))
            await browser.reload()
            await browser.wait_for(
                f"document.querySelectorAll('.word').length === {SEGMENTS * WORDS_PER_SEGMENT}"
            )
            assert await browser.evaluate("document.getElementById('notices').textContent") == ""
            stored = await browser.evaluate("JSON.stringify(localStorage).length")
            assert stored < 2_500_000, stored  # of some 5 million characters

    harness.run(scenario)


def test_ten_minutes_with_a_real_model(harness: Harness, golden: Path, tmp_path: Path) -> None:
    """All of a long file is there, at the right times, and progress is that of recognition."""
    with wave.open(str(golden / "wav" / "ps-tidigits-2934z.wav")) as reader:
        parameters, frames = reader.getparams(), reader.readframes(reader.getnframes())
    repeats = 600 * parameters.framerate // parameters.nframes
    long_file = tmp_path / "ten minutes.wav"
    with wave.open(str(long_file), "wb") as writer:
        writer.setparams(parameters)
        for _ in range(repeats):
            writer.writeframes(frames)
    watch = (
        "window.values = []; "
        "setInterval(() => values.push(document.querySelector('progress').value), 50); null"
    )
    words = "[...document.querySelectorAll('.word')]"

    async def scenario() -> None:
        with running_serve(tmp_path, "models/english:graph-digits") as server:
            async with open_browser(server.url, tmp_path) as browser:
                await browser.wait_for("document.getElementById('status').dataset.state === 'free'")
                await browser.choose_files(long_file)
                await browser.evaluate(watch)
                await browser.wait_for(f"{PHASE} === 'done'")
                progress = await browser.evaluate("[...new Set(values)]")
                assert progress == sorted(progress)
                assert len(progress) > 5, progress
                text = await browser.evaluate(f"{words}.map((each) => each.textContent).join(' ')")
                assert text.count("two nine three four") > 0.95 * repeats
                last = await browser.evaluate(
                    "[...document.querySelectorAll('.word')].at(-1).dataset.details"
                )
                assert 590 < float(last.split()[0]) < 601
                await browser.wait_for(
                    "document.querySelector('.track .sound')?.getAttribute('d').length > 1000"
                )

    harness.run(scenario)


def test_a_server_that_is_killed_and_started_again(harness: Harness, golden: Path, tmp_path: Path) -> None:
    recording = golden / "wav" / "ps-tidigits-2934z.wav"
    model = "models/english:graph-digits"
    digits = "two nine three four zero"
    count = "document.getElementById('takes').textContent.split('two nine three four').length"

    async def scenario() -> None:
        with running_serve(tmp_path, model) as server:
            async with open_browser(server.url, tmp_path, recording) as browser:
                await browser.wait_for("document.getElementById('status').dataset.state === 'free'")
                await browser.click("microphone")
                await browser.wait_for(shows(digits))
                for process in (server.process.pid, *server.children()):
                    os.kill(process, signal.SIGKILL)
                await browser.wait_for(
                    f"document.querySelector('.unfinished') !== null && {PHASE} === 'reconnecting'"
                )
                assert digits in await browser.text("takes")
                before = await browser.evaluate(count)
                with running_serve(tmp_path, "--port", server.url.rpartition(":")[2], model):
                    await browser.wait_for("document.querySelector('.unfinished') === null")
                    # What was said before, while the server was away, and since.
                    await browser.wait_for(f"{count} > {before} + 1")
                    await browser.click("microphone")
                    await browser.wait_for(activity("Ready"))
                    assert await browser.evaluate(PHASE) == "done"
                    assert await browser.evaluate("document.querySelector('.take .alert').hidden")

    harness.run(scenario)
