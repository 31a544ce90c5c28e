"""The page with a microphone, in a real browser: from samples to words, and nothing lost on the way."""

import asyncio
import json
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
from browser import Browser, open_browser
from harness import Harness, Socket
from numpy.typing import NDArray
from web_events import ADAPTATION_STATE, PHASE, WORKER, activity, final, partial, position, shows

from pykaldi_server.master.server import Master

NOTICES = "document.getElementById('notices').textContent"
WORDS = "[...document.querySelectorAll('.word')]"


@pytest.fixture
def recording(golden: Path) -> Path:
    return golden / "wav" / "ps-librivox-0870.wav"


def read_wav(path: Path) -> NDArray[np.int16]:
    with wave.open(str(path)) as reader:
        return np.frombuffer(reader.readframes(reader.getnframes()), "<i2")


async def read_audio(worker: Socket, num_bytes: int) -> bytes:
    received = b""
    while len(received) < num_bytes:
        message = await worker.read()
        assert isinstance(message, bytes), message
        received += message
    return received


async def read_to_eos(worker: Socket) -> bytes:
    received = b""
    while (message := await worker.read()) != "EOS":
        assert isinstance(message, bytes), message
        received += message
    return received


async def begin_with_two_workers(harness: Harness, master: Master, browser: Browser) -> tuple[Socket, Socket]:
    """Starts to record; the first worker gets the request."""
    first, second = await harness.worker(master, WORKER), await harness.worker(master, WORKER)
    await browser.wait_for("document.getElementById('model-name').innerText === 'english'")
    await browser.click("microphone")
    await first.read_json()
    return first, second


def test_words_and_what_is_learned(harness: Harness, recording: Path, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with harness.master() as master, open_browser(master.url, tmp_path, recording) as browser:
            worker = await harness.worker(master, WORKER)
            await browser.wait_for("document.getElementById('status').dataset.state === 'free'")
            assert await browser.text("status") == "Ready"
            await browser.wait_for("document.getElementById('model-name').innerText === 'english'")
            await browser.click("microphone")
            init = await worker.read_json()
            assert init["content_type"] == (
                "audio/x-raw, layout=(string)interleaved, rate=(int)16000, format=(string)S16LE, "
                "channels=(int)1"
            )
            received = await read_audio(worker, 2 * 2 * 16000)
            assert share_found(np.frombuffer(received, "<i2"), read_wav(recording)) > 0.5

            await worker.send(partial("one two"))
            await browser.wait_for("document.querySelector('.partial')?.innerText === 'one two'")
            assert await browser.text("activity") == "Listening"
            assert await browser.evaluate("document.title") == "Listening – pykaldi-server"
            leave = "dispatchEvent(new Event('beforeunload', { cancelable: true }))"
            assert not await browser.evaluate(leave)  # it asks
            assert await browser.evaluate("document.querySelector('.words').lang") == "en"
            await browser.click("microphone")
            await read_to_eos(worker)
            await worker.send(final([("one", 0.5, 0.25, 0.98), ("too", 0.75, 0.25, 0.3)], 60.0, 1.5))
            await worker.send({"status": 0, "id": "x", "adaptation_state": ADAPTATION_STATE})
            await worker.send(position(10**9, 60.0, is_end=True))
            await browser.wait_for(activity("Ready"))
            assert "1:00 one too" in " ".join((await browser.text("takes")).split())
            assert await browser.evaluate("document.querySelector('.partial')") is None
            assert await browser.evaluate(f"[{leave}, document.title]") == [True, "pykaldi-server"]
            colours = await browser.evaluate(f"{WORDS}.map((word) => getComputedStyle(word).color)")
            assert colours[0] != colours[1]
            await browser.evaluate(f"{WORDS}[1].focus()")
            await browser.wait_for("!document.getElementById('word-details').hidden")
            assert await browser.text("word-details") == "60.75 – 61.00 s, 30 % sure"

            second = await harness.worker(master, WORKER)
            await browser.click("microphone")
            await second.read_json()
            assert json.loads(str(await second.read())) == {"adaptation_state": ADAPTATION_STATE}

    harness.run(scenario)


def test_a_request_that_waits_shows_its_place(harness: Harness, recording: Path, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with harness.master(queue_s=60) as master:
            first = await harness.client(master)
            await master.until(lambda: master.hub.pool.status().waiting == 1)
            async with open_browser(master.url, tmp_path, recording) as browser:
                await browser.wait_for("document.getElementById('status').dataset.state === 'busy'")
                await browser.click("microphone")
                await browser.wait_for(activity("Waiting: 2nd in line; what you say is kept"))
                first.close()
                await browser.wait_for(activity("Waiting: 1st in line; what you say is kept"))
                worker = await harness.worker(master)
                assert (await worker.read_json())["content_type"].startswith("audio/x-raw")
                await browser.wait_for(activity("Listening"))
                assert isinstance(await worker.read(), bytes)

    harness.run(scenario)


def test_with_no_place_free_the_page_tries_again_until_there_is(
    harness: Harness, recording: Path, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with (
            harness.master(queue_s=0) as master,
            open_browser(master.url, tmp_path, recording) as browser,
        ):
            await browser.click("microphone")
            await browser.wait_for(shows("All places on the server are taken."))
            assert "What you say is kept" in await browser.text("takes")
            worker = await harness.worker(master, WORKER)
            await worker.read_json()
            received = await read_audio(worker, 32000)
            await worker.send(position(len(received), 1.0))
            await browser.wait_for(f"document.querySelector('.take .alert').hidden && {PHASE} === 'running'")

    harness.run(scenario)


def test_a_denied_microphone_is_explained_where_the_button_is(harness: Harness, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            await harness.worker(master, WORKER)
            async with open_browser(master.url, tmp_path, grants=False) as browser:
                await browser.click("microphone")
                await browser.wait_for("document.querySelector('#notices .alert') !== null")
                text = await browser.text("notices")
                assert "does not let this page use the microphone" in text
                assert "Allow it" in text
                assert await browser.evaluate("document.querySelector('.take')") is None
                pressed = "document.getElementById('microphone').getAttribute('aria-pressed')"
                assert await browser.evaluate(pressed) == "false"

    harness.run(scenario)


def test_a_lost_worker_costs_no_word(harness: Harness, recording: Path, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with harness.master() as master, open_browser(master.url, tmp_path, recording) as browser:
            first, second = await begin_with_two_workers(harness, master, browser)
            received = await read_audio(first, 3 * 32000)
            await first.send(final([("one", 0.0, 0.5, 1.0)], 0.0, 1.0))
            await first.send(partial("two three"))
            await browser.wait_for(shows("two three"))
            first.vanish()
            await browser.wait_for("document.querySelector('.unfinished') !== null")
            assert "two three" in await browser.text("takes")
            assert "The server stopped in the middle of your recording" in await browser.text("takes")
            await second.read_json()
            again = await read_audio(second, 4 * 32000)
            assert again.startswith(received[32000:])  # from the end of "one"
            await second.send(position(len(again), 4.0))
            await second.send(final([("two", 0.0, 0.5, 1.0), ("three", 0.5, 0.5, 1.0)], 0.0, 2.0))
            await browser.wait_for(f"{WORDS}.length === 3 && document.querySelector('.unfinished') === null")
            assert await browser.evaluate(f"{WORDS}[2].dataset.details") == "1.50 – 2.00 s, 100 % sure"
            assert await browser.evaluate("document.querySelector('.take .alert').hidden")
            await browser.click("microphone")
            await read_to_eos(second)
            await second.send(position(10**9, 5.0, is_end=True))
            await browser.wait_for(activity("Ready"))

    harness.run(scenario)


PRESSED = "document.getElementById('microphone').getAttribute('aria-pressed')"
HOLD_PERMISSION = """
    const { mediaDevices } = navigator, ask = mediaDevices.getUserMedia.bind(mediaDevices);
    window.asked = [];
    mediaDevices.getUserMedia = (wanted) => new Promise((resolve) => {
        window.allow = async () => { asked.push(await ask(wanted)); resolve(asked.at(-1)); };
    });
"""
IS_CLOSED = "asked.at(-1).getTracks().every((track) => track.readyState === 'ended')"


def test_a_microphone_that_is_given_up_or_does_not_start_is_let_go(
    harness: Harness, recording: Path, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with harness.master() as master, open_browser(master.url, tmp_path, recording) as browser:
            await harness.worker(master, WORKER)
            await browser.evaluate(HOLD_PERMISSION)
            await browser.click("microphone")
            assert await browser.evaluate(PRESSED) == "true"
            await browser.evaluate("document.querySelector('.take-actions button').click()")
            await browser.wait_for(f"{PHASE} === 'cancelled'")
            assert await browser.evaluate(PRESSED) == "false"
            assert await browser.text("microphone-label") == "Start the microphone"
            await browser.evaluate("allow()")
            await browser.wait_for(IS_CLOSED)

            await browser.click("clear")
            await browser.evaluate(
                "AudioContext.prototype.createMediaStreamSource = () => { throw new Error('another rate') }"
            )
            await browser.click("microphone")
            await browser.evaluate("allow()")
            await browser.wait_for(f"{NOTICES}.includes('does not start (another rate)')")
            await browser.wait_for(f"{IS_CLOSED} && !document.querySelector('.take')")
            assert await browser.evaluate(PRESSED) == "false"

    harness.run(scenario)


def test_a_recording_ends_though_the_last_samples_do_not_come(
    harness: Harness, recording: Path, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with harness.master() as master, open_browser(master.url, tmp_path, recording) as browser:
            first, second = await begin_with_two_workers(harness, master, browser)
            received = await read_audio(first, 32000)
            await browser.evaluate("MessagePort.prototype.postMessage = () => {}")
            await browser.click("microphone")
            received += await read_to_eos(first)
            await first.send({"status": 3, "message": "expected audio, found a picture", "id": "x"})
            await browser.wait_for(f"{PHASE} === 'failed'")
            await browser.evaluate("document.querySelector('.take-actions button').click()")  # Try again
            await second.read_json()
            assert await read_to_eos(second) == received

    harness.run(scenario)


async def stop_with_last_words(master: Master, worker: Socket) -> None:
    """Stops a server whose worker has something to say yet."""
    stopping = asyncio.create_task(master.stop())
    await read_to_eos(worker)
    await worker.send(final([("last", 0.0, 0.5, 1.0), ("words", 0.5, 0.5, 1.0)], 0.0, 1.5))
    await worker.send(position(10**9, 1.5, is_end=True))
    await stopping


def test_a_server_that_stops_and_comes_back(harness: Harness, recording: Path, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            worker = await harness.worker(master, WORKER)
            async with open_browser(master.url, tmp_path, recording) as browser:
                await browser.wait_for("document.getElementById('model-name').innerText === 'english'")
                await browser.click("microphone")
                await worker.read_json()
                await read_audio(worker, 2 * 32000)
                await worker.send(partial("last wor"))
                await browser.wait_for(shows("last wor"))
                await stop_with_last_words(master, worker)
                await browser.wait_for(f"{WORDS}.length === 2")
                await browser.wait_for("document.getElementById('status').dataset.state === 'lost'")
                await browser.wait_for(shows("is gone."))
                await browser.wait_for(shows("Trying again; what you say is kept"))
                async with harness.master(port=master.port) as again:
                    second = await harness.worker(again, WORKER)
                    # It would try again by itself, too; so the button may have gone already.
                    await browser.evaluate("document.querySelector('.take .alert button')?.click()")
                    await second.read_json()
                    await read_audio(second, 32000)
                    await second.send(partial("more"))
                    await browser.wait_for(shows("more"))
                    await second.send(final([("more", 0.0, 0.5, 1.0)], 0.0, 1.0))
                    await browser.wait_for(
                        f"{WORDS}.map((word) => word.textContent).join(' ') === 'last words more'"
                    )
                    await browser.wait_for("document.getElementById('status').dataset.state !== 'lost'")
                    assert (
                        await browser.evaluate(f"{WORDS}[2].dataset.details") == "1.50 – 2.00 s, 100 % sure"
                    )

    harness.run(scenario)


def test_a_dead_microphone_gets_a_hint_with_a_way_to_another(harness: Harness, tmp_path: Path) -> None:
    silence = tmp_path / "silence.wav"
    with wave.open(str(silence), "wb") as writer:
        writer.setparams((1, 2, 16000, 0, "NONE", ""))
        writer.writeframes(bytes(32000))

    async def scenario() -> None:
        async with harness.master() as master, open_browser(master.url, tmp_path, silence) as browser:
            await harness.worker(master, WORKER)
            await browser.click("microphone")
            await browser.wait_for(f"{NOTICES}.includes('No sound comes')")
            await browser.evaluate("document.querySelector('[data-key=level] button').click()")
            await browser.wait_for("document.getElementById('settings').open")
            await browser.wait_for("document.getElementById('device').options.length > 0")
            await browser.click("settings-close")
            await browser.click("microphone")
            await browser.wait_for(f"!{NOTICES}.includes('No sound comes')")

    harness.run(scenario)


def share_found(received: NDArray[np.int16], recording: NDArray[np.int16]) -> float:
    """Share of the loud tenths of a second of what was received that are pieces of the recording.

    The browser's microphone leaves gaps while the machine is busy; each spoils the tenth it falls into.
    """
    pieces = received[: len(received) // 1600 * 1600].reshape(-1, 1600).astype(np.float64)
    looped = np.concatenate([recording, recording[:1600]]).astype(np.float64)
    size = len(looped) + 1600
    spectrum = np.fft.rfft(looped, size)
    energies = np.convolve(looped**2, np.ones(1600), "valid")

    def is_found(piece: NDArray[np.float64]) -> bool:
        products = np.fft.irfft(spectrum * np.conj(np.fft.rfft(piece, size)), size)[: len(energies)]
        return bool((products / np.sqrt(energies * (piece**2).sum() + 1)).max() > 0.9)

    loud = [piece for piece in pieces if np.abs(piece).mean() > np.abs(recording).mean() / 2]
    assert len(loud) >= 5, "hardly any sound was received"
    return sum(map(is_found, loud)) / len(loud)


@pytest.mark.slow
def test_microphone_to_words_with_a_real_model(harness: Harness, golden: Path, tmp_path: Path) -> None:
    model = Path(__file__).resolve().parents[2] / "models" / "english:graph-digits"
    command = [sys.executable, "-m", "pykaldi_server", "serve", "--port", "0", str(model)]

    async def scenario() -> None:
        server = await asyncio.create_subprocess_exec(
            *command, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        try:
            url = await address_of(server)
            recording = golden / "wav" / "ps-tidigits-2934z.wav"
            async with open_browser(url, tmp_path, recording) as browser:
                await browser.wait_for("document.getElementById('status').dataset.state === 'free'")
                await browser.click("microphone")
                # The recording is played again and again, without a pause that ends a segment.
                words = "two nine three four zero"
                await browser.wait_for(shows(words))
                await browser.click("microphone")
                await browser.wait_for(activity("Ready"))
                assert words in " ".join((await browser.text("takes")).split())
                assert await browser.evaluate("document.querySelector('.take .alert').hidden")
        finally:
            server.terminate()
            await server.wait()

    harness.run(scenario)


async def address_of(server: asyncio.subprocess.Process) -> str:
    """What a starting server says about where it is."""
    assert server.stdout is not None
    while line := (await server.stdout.readline()).decode():
        if line.startswith("Serving on "):
            return line.split()[2]
    raise AssertionError("the server has not started")
