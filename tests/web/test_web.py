"""The web page: its files, and all of it in a real browser against a real master.

The browser is Debian's chromium (`apt install chromium`), driven over its DevTools protocol; its microphone
plays a recording. Where it is missing, its tests are skipped.
"""

import asyncio
import base64
import json
import re
import shutil
import sys
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import numpy as np
import pytest
from numpy.typing import NDArray
from tornado.httpclient import AsyncHTTPClient
from tornado.websocket import WebSocketClientConnection, websocket_connect

WEB = Path(__file__).resolve().parent.parent.parent / "pykaldi_server" / "web"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

ADAPTATION_STATE = {"id": "x", "value": "abc", "type": "string+gzip+base64", "time": "2020-01-01T00:00:00"}


def partial(text: str, segment: int = 0) -> dict[str, Any]:
    result = {"hypotheses": [{"transcript": text}], "final": False}
    return {"status": 0, "segment": segment, "id": "x", "result": result}


def final(words: list[tuple[str, float, float, float]], start_s: float, length_s: float) -> dict[str, Any]:
    """A final result; each word is its text, start, length and confidence."""
    alignment = [
        {"word": word, "start": start, "length": length, "confidence": confidence}
        for word, start, length, confidence in words
    ]
    hypothesis = {"transcript": " ".join(word[0] for word in words), "word-alignment": alignment}
    return {
        "status": 0,
        "segment": 0,
        "id": "x",
        "segment-start": start_s,
        "segment-length": length_s,
        "total-length": start_s + length_s,
        "result": {"hypotheses": [hypothesis], "final": True},
    }


class Browser:
    """A tab of a browser."""

    def __init__(self, connection: WebSocketClientConnection) -> None:
        self._connection = connection
        self._last_id = 0

    async def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the DevTools protocol."""
        self._last_id += 1
        await self._connection.write_message(
            json.dumps({"id": self._last_id, "method": method, "params": parameters})
        )
        while True:
            message = await self._connection.read_message()
            assert isinstance(message, str), "the browser has gone"
            answer = json.loads(message)
            if answer.get("id") == self._last_id:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    async def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, with the rights that a user's click gives."""
        answer = await self.command(
            "Runtime.evaluate",
            expression=expression,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def wait_for(self, condition: str) -> None:
        """Returns when a JavaScript condition has become true; it is checked at every frame."""
        await self.evaluate(
            f"new Promise((done) => {{ const check = () => ({condition}) ? done(true) : "
            "requestAnimationFrame(check); check(); })"
        )

    async def click(self, element: str) -> None:
        await self.evaluate(f"document.getElementById('{element}').click()")

    async def text(self, element: str) -> str:
        text: str = await self.evaluate(f"document.getElementById('{element}').innerText")
        return text

    async def choose_file(self, path: Path) -> None:
        document = await self.command("DOM.getDocument")
        node = await self.command("DOM.querySelector", nodeId=document["root"]["nodeId"], selector="#file")
        await self.command("DOM.setFileInputFiles", nodeId=node["nodeId"], files=[str(path)])

    async def screenshot(self, path: Path) -> None:
        picture = await self.command("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(picture["data"]))


@asynccontextmanager
async def open_browser(url: str, directory: Path, microphone: Path | None = None) -> AsyncIterator[Browser]:
    """Opens a page in a new browser, whose microphone plays a WAV file."""
    if CHROMIUM is None:
        pytest.skip("needs chromium (apt install chromium)")
    profile = directory / "profile"
    arguments = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        *([f"--use-file-for-fake-audio-capture={microphone}"] if microphone else []),
        "--remote-debugging-port=0",
        "--window-size=900,800",
        f"--user-data-dir={profile}",
        "about:blank",
    ]
    process = await asyncio.create_subprocess_exec(
        CHROMIUM, *arguments, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    try:
        port = None
        while port is None:
            line = await process.stderr.readline()
            assert line, "the browser does not start"
            found = re.search(rb"DevTools listening on ws://127\.0\.0\.1:(\d+)/", line)
            port = found and int(found[1])
        drain = asyncio.create_task(process.stderr.read())
        answer = await AsyncHTTPClient().fetch(f"http://127.0.0.1:{port}/json/list")
        page = next(tab for tab in json.loads(answer.body) if tab["type"] == "page")
        connection = await websocket_connect(page["webSocketDebuggerUrl"], max_message_size=1 << 26)
        browser = Browser(connection)
        await browser.command("Emulation.setFocusEmulationEnabled", enabled=True)
        await browser.command("Page.navigate", url=url)
        await browser.wait_for("document.readyState === 'complete'")
        yield browser
        connection.close()
        drain.cancel()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        shutil.rmtree(profile, ignore_errors=True)


def read_wav(path: Path) -> NDArray[np.int16]:
    with wave.open(str(path)) as reader:
        return np.frombuffer(reader.readframes(reader.getnframes()), "<i2")


def test_every_file_is_served_and_nothing_is_fetched_from_elsewhere(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            page = await harness.fetch(master, "/")
            assert page.code == 200
            assert page.headers["Content-Type"].startswith("text/html")
            assert "default-src 'self'" in page.headers["Content-Security-Policy"]
            referenced = re.findall(r'(?:src|href)="([^"]+)"', page.body.decode())
            assert {"client/static/app.js", "client/static/style.css"} <= set(referenced)
            for reference in referenced:
                assert (await harness.fetch(master, "/" + reference)).code == 200
            for path in WEB.iterdir():
                answer = await harness.fetch(master, f"/client/static/{path.name}")
                assert answer.body == path.read_bytes()
                if path.suffix == ".js":
                    assert "javascript" in answer.headers["Content-Type"]
                addresses = re.findall(r"https?://[^\s\"')]+", path.read_text())
                assert set(addresses) <= {"http://www.w3.org/2000/svg"}

    harness.run(scenario)


def test_the_status_page_finds_its_files(harness: Any) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            moved = await harness.fetch(master, "/status", follow_redirects=False)
            assert (moved.code, moved.headers["Location"]) == (302, "client/static/status.html")
            address = master.url + "/client/static/status.html"
            page = (await harness.fetch(master, "/client/static/status.html")).body.decode()
            base = urljoin(address, re.findall(r'<base href="([^"]+)"', page)[0])
            referenced = re.findall(r'(?:src|href)="([^"]+)"', page.partition("<base")[2].partition(">")[2])
            assert "client/static/status-page.js" in referenced
            for reference in referenced:
                found = await harness.fetch(master, urljoin(base, reference).removeprefix(master.url))
                assert found.code == 200

    harness.run(scenario)


def test_the_status_page_shows_every_number(harness: Any, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with harness.master() as master:
            address = master.url + "/client/static/status.html"
            async with open_browser(address, tmp_path) as browser:
                await browser.wait_for("document.getElementById('summary').dataset.state === 'busy'")
                await harness.worker(master, "model=english")
                await browser.wait_for("document.getElementById('summary').dataset.state === 'free'")
                assert "Free recognizers 1" in " ".join((await browser.text("numbers")).split())
                assert (await browser.text("model-rows")).split() == ["english", "1", "0"]
                status = await browser.evaluate("document.getElementById('status').textContent")
                assert '"num_workers_available": 1' in status  # also while it is folded

    harness.run(scenario)


def test_imports_of_the_scripts_exist() -> None:
    for path in WEB.glob("*.js"):
        for name in re.findall(r'from "\./([^"]+)"', path.read_text()):
            assert (WEB / name).is_file()


def test_microphone(harness: Any, golden: Path, tmp_path: Path) -> None:
    recording = golden / "wav" / "ps-librivox-0870.wav"

    async def scenario() -> None:
        async with harness.master() as master:
            worker = await harness.worker(master)
            async with open_browser(master.url, tmp_path, recording) as browser:
                await browser.wait_for("document.getElementById('status').dataset.state === 'free'")
                assert await browser.text("status") == "1 of 1 recognizer free"
                await browser.click("microphone")
                init = await worker.read_json()
                assert init["content_type"] == (
                    "audio/x-raw, layout=(string)interleaved, rate=(int)16000, format=(string)S16LE, "
                    "channels=(int)1"
                )
                received = b""
                while len(received) < 2 * 2 * 16000:
                    received += await worker.read()
                assert similarity(np.frombuffer(received, "<i2"), read_wav(recording)) > 0.9

                await worker.send(partial("one two"))
                await browser.wait_for("document.getElementById('partial').textContent === 'one two'")
                assert await browser.text("activity") == "Listening"
                await browser.click("microphone")
                while (message := await worker.read()) != "EOS":
                    assert isinstance(message, bytes)
                await worker.send(final([("one", 0.5, 0.25, 0.98), ("too", 0.75, 0.25, 0.3)], 60.0, 1.5))
                await worker.send({"status": 0, "id": "x", "adaptation_state": ADAPTATION_STATE})
                worker.close()
                await browser.wait_for("document.getElementById('activity').textContent === 'Ready'")
                assert "1:00 one too" in " ".join((await browser.text("transcript")).split())
                assert await browser.evaluate("document.getElementById('partial').hidden")
                words = "[...document.querySelectorAll('.word')]"
                assert await browser.evaluate(f"{words}.map((word) => word.dataset.details)") == [
                    "60.50 – 60.75 s, 98 % sure",
                    "60.75 – 61.00 s, 30 % sure",
                ]
                colours = await browser.evaluate(f"{words}.map((word) => getComputedStyle(word).color)")
                assert colours[0] != colours[1]
                await browser.evaluate(f"{words}[1].focus()")
                assert await browser.text("word-details") == "60.75 – 61.00 s, 30 % sure"

                second = await harness.worker(master)
                await browser.click("microphone")
                await second.read_json()
                assert json.loads(await second.read()) == {"adaptation_state": ADAPTATION_STATE}

    harness.run(scenario)


def test_a_request_that_waits_shows_its_place(harness: Any, golden: Path, tmp_path: Path) -> None:
    recording = golden / "wav" / "ps-librivox-0870.wav"

    def activity(text: str) -> str:
        return f"document.getElementById('activity').textContent === {json.dumps(text)}"

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


def similarity(received: NDArray[np.int16], recording: NDArray[np.int16]) -> float:
    """Largest correlation of half a second of what was received with any place of the recording."""
    loudest = int(np.argmax(np.convolve(np.abs(received[4000:-8000].astype(float)), np.ones(8000), "valid")))
    piece = received[4000 + loudest : 4000 + loudest + 8000].astype(np.float64)
    looped = np.concatenate([recording, recording[:8000]]).astype(np.float64)
    size = len(looped) + len(piece)
    products = np.fft.irfft(np.fft.rfft(looped, size) * np.conj(np.fft.rfft(piece, size)), size)
    energies = np.convolve(looped**2, np.ones(len(piece)), "valid")
    ratios = products[: len(energies)] / np.sqrt(energies * (piece**2).sum() + 1)
    return float(ratios.max())


def test_file_upload_and_saving(harness: Any, golden: Path, tmp_path: Path) -> None:
    recording = golden / "wav" / "ps-librivox-0880.wav"
    downloads = tmp_path / "downloads"

    async def scenario() -> None:
        async with harness.master() as master, open_browser(master.url, tmp_path) as browser:
            await browser.command(
                "Browser.setDownloadBehavior",
                behavior="allow",
                downloadPath=str(downloads),
                eventsEnabled=True,
            )
            digits = await harness.worker(master, "model=digits")
            await harness.worker(master, "model=general")
            await browser.wait_for("!document.getElementById('model-choice').hidden")
            await browser.choose_file(recording)
            init = await digits.read_json()
            assert init["content_type"] == "audio/wav"
            received = b""
            while (message := await digits.read()) != "EOS":
                received += message
            assert received == recording.read_bytes()
            await digits.send(final([("one", 0.0, 0.5, 1.0), ("two", 0.5, 0.5, 1.0)], 0.0, 1.0))
            await digits.send(final([("three", 0.5, 0.25, 0.9)], 3600.0, 1.0))
            digits.close()
            await browser.wait_for("document.getElementById('activity').textContent === 'Ready'")
            assert "ps-librivox-0880.wav" in await browser.text("transcript")
            assert "one two" in await browser.text("transcript")

            for button, name, text in (
                ("save-text", "transcript.txt", "one two\nthree\n"),
                (
                    "save-subtitles",
                    "transcript.srt",
                    "1\n00:00:00,000 --> 00:00:01,000\none two\n\n2\n01:00:00,500 --> 01:00:00,750\nthree\n",
                ),
            ):
                await browser.click(button)
                while not (downloads / name).exists():
                    await browser.evaluate("new Promise(requestAnimationFrame)")
                assert (downloads / name).read_text() == text
            await browser.click("clear")
            assert await browser.text("transcript") == ""

    harness.run(scenario)


def test_failures_are_told(harness: Any, golden: Path, tmp_path: Path) -> None:
    recording = golden / "wav" / "ps-librivox-0880.wav"

    async def scenario() -> None:
        async with harness.master() as master, open_browser(master.url, tmp_path) as browser:
            await browser.wait_for("document.getElementById('status').textContent.includes('no recognizer')")
            await browser.choose_file(recording)
            await browser.wait_for("!document.getElementById('alert').hidden")
            assert "busy" in await browser.text("alert")

            worker = await harness.worker(master)
            await browser.choose_file(recording)
            await worker.read_json()
            assert await browser.evaluate("document.getElementById('alert').hidden")
            await worker.send({"status": 3, "message": "no audio", "id": "x"})
            await browser.wait_for("!document.getElementById('alert').hidden")
            assert await browser.text("alert") == "The audio could not be read."
            await browser.wait_for("document.getElementById('activity').textContent === 'Ready'")

    harness.run(scenario)


def test_the_page_asks_for_a_token(harness: Any, golden: Path, tmp_path: Path) -> None:
    recording = golden / "wav" / "ps-librivox-0880.wav"
    right, tokens = "right-token-0123456789", tmp_path / "tokens.yaml"
    tokens.write_text(f"clients: {{anna: {right}}}\nworkers: {{w: worker-token-0123456789}}")

    async def scenario() -> None:
        async with (
            harness.master(tokens=tokens) as master,
            open_browser(master.url, tmp_path) as browser,
        ):
            for token, question in (("wrong-token-0123456789", "asks for a token"), (right, "Another one")):
                dialog = f"document.getElementById('token-dialog')?.innerText.includes('{question}')"
                await browser.wait_for(dialog)
                await browser.evaluate(f"document.getElementById('token').value = '{token}'")
                await browser.click("token-use")
            await browser.wait_for("document.getElementById('status').textContent.includes('no recognizer')")
            worker = await harness.worker(master, "token=worker-token-0123456789")
            await browser.choose_file(recording)
            assert "token" not in str(await worker.read_json())
            await worker.send(final([("one", 0.0, 0.5, 1.0)], 0.0, 1.0))
            worker.close()
            await browser.wait_for("document.getElementById('transcript').innerText.includes('one')")

    harness.run(scenario)


@pytest.mark.slow
def test_microphone_to_words_with_a_real_model(harness: Any, golden: Path, tmp_path: Path) -> None:
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
                await browser.wait_for(f"document.getElementById('partial').textContent.includes('{words}')")
                await browser.click("microphone")
                await browser.wait_for("document.getElementById('activity').textContent === 'Ready'")
                assert words in await browser.text("transcript")
                assert await browser.evaluate("document.getElementById('alert').hidden")
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
