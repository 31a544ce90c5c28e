"""Files on the page, in a real browser: a list of them, their progress, what goes wrong, and what is kept."""

import asyncio
import json
from pathlib import Path

import pytest
from browser import Browser, open_browser
from harness import Harness, Socket
from web_events import PHASE, WORKER, activity, by_take, final, partial, position, shows

PHASES = "[...document.querySelectorAll('.take')].map((take) => take.dataset.phase).join(' ')"


@pytest.fixture
def recording(golden: Path) -> Path:
    return golden / "wav" / "ps-librivox-0880.wav"


async def read_to_eos(worker: Socket) -> bytes:
    received = b""
    while (message := await worker.read()) != "EOS":
        assert isinstance(message, bytes), message
        received += message
        await worker.send(position(len(received), len(received) / 32000))
    return received


def button(text: str) -> str:
    """The first button of the transcripts that has this text."""
    return f"[...document.querySelectorAll('.take button')].find((each) => each.innerText === '{text}')"


async def use(browser: Browser, element: str) -> None:
    await browser.wait_for(f"{element} !== undefined && ({element}.click(), true)")


async def allow_downloads(browser: Browser, directory: Path) -> None:
    await browser.command(
        "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(directory), eventsEnabled=True
    )


async def download(browser: Browser, label: str, path: Path) -> str:
    await browser.evaluate("document.querySelector('.menu').open = true")
    await use(
        browser,
        f"[...document.querySelectorAll('.menu button')].find((each) => each.innerText === '{label}')",
    )
    # The browser keeps the name by an empty file, and moves what it has got over that.
    while not (path.exists() and path.stat().st_size):
        await browser.evaluate("new Promise(requestAnimationFrame)")
    return path.read_bytes().decode()


def test_several_files_are_a_list_and_are_saved_under_their_names(
    harness: Harness, recording: Path, tmp_path: Path
) -> None:
    downloads = tmp_path / "downloads"
    others = [tmp_path / "second.wav", tmp_path / "third.wav"]
    for other in others:
        other.write_bytes(recording.read_bytes())

    async def scenario() -> None:
        async with harness.master() as master, open_browser(master.url, tmp_path) as browser:
            await allow_downloads(browser, downloads)
            workers = [await harness.worker(master, WORKER) for _ in range(2)]
            await browser.wait_for("document.getElementById('model-name').innerText === 'english'")
            await browser.choose_files(recording, *others)
            workers = await by_take(browser, workers)
            await browser.wait_for(f"{PHASES}.endsWith(' listed')")
            assert await read_to_eos(workers[0]) == recording.read_bytes()
            await browser.wait_for("document.querySelector('.take progress').value === 1")
            assert "100 %" in await browser.text("takes")
            await workers[0].send(final([("one", 0.0, 0.5, 1.0), ("two", 0.5, 0.5, 1.0)], 0.0, 1.0))
            await workers[0].send(final([("three", 0.5, 0.25, 0.9)], 3600.0, 1.0))
            third = await harness.worker(master, WORKER)
            await workers[0].send(position(10**6, 9.0, is_end=True))
            await third.read_json()
            for worker in (workers[1], third):
                await read_to_eos(worker)
                await worker.send(position(10**6, 9.0, is_end=True))
            await browser.wait_for(f"{PHASES} === 'done done done'")
            assert await browser.text("activity") == "Ready"

            name = "ps-librivox-0880"
            text = await download(browser, "Text (.txt)", downloads / f"{name}.txt")
            assert text == "one two\nthree\n"
            srt = await download(browser, "Subtitles (.srt)", downloads / f"{name}.srt")
            assert srt.startswith("1\n00:00:00,000 --> 00:00:01,000\none two\n\n2\n01:00:00,500 --> 01:00:0")
            vtt = await download(browser, "Subtitles for the web (.vtt)", downloads / f"{name}.vtt")
            assert vtt.startswith("WEBVTT\n")
            data = json.loads(await download(browser, "Data (.json)", downloads / f"{name}.json"))
            assert data["segments"][1]["words"] == [
                {"word": "three", "start": 3600.5, "end": 3600.75, "confidence": 0.9}
            ]
            table = await download(browser, "Table (.csv)", downloads / f"{name}.csv")
            assert table.splitlines()[2] == "ps-librivox-0880.wav,,3600.500,3600.750,0.900,three"

    harness.run(scenario)


def test_cancel_acts_at_once_and_a_file_can_be_tried_again(
    harness: Harness, recording: Path, tmp_path: Path
) -> None:
    large = tmp_path / "large.wav"
    large.write_bytes(recording.read_bytes() + bytes(30_000_000))

    async def scenario() -> None:
        async with harness.master() as master, open_browser(master.url, tmp_path) as browser:
            worker = await harness.worker(master, WORKER)
            await browser.choose_files(large)
            await worker.read_json()
            await worker.send(partial("one two"))
            await browser.wait_for(shows("one two"))
            stored = await browser.evaluate(
                "Object.defineProperty(document, 'hidden', { value: true, configurable: true }), "
                "document.dispatchEvent(new Event('visibilitychange')), delete document.hidden, "
                "JSON.stringify(localStorage)"
            )
            assert "one two" in stored, "a page that is put aside may not come back"
            # Nobody reads the file any more: its cancel must not wait for what is on the way.
            cancelled = f"{button('Cancel')}.click(), {PHASE}"
            assert await browser.evaluate(cancelled) == "cancelled"
            assert "one two unfinished" in await browser.text("takes")
            while await worker.read() is not None:  # until the master closes
                pass
            second = await harness.worker(master, WORKER)
            await use(browser, button("Try again"))
            await second.read_json()
            await browser.wait_for(f"{PHASE} === 'running'")

    harness.run(scenario)


def test_failures_name_the_file_and_the_way_out(harness: Harness, recording: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.wav"
    empty.write_bytes(b"")

    async def scenario() -> None:
        async with (
            harness.master(queue_s=0) as master,
            open_browser(master.url, tmp_path) as browser,
        ):
            await browser.wait_for(
                "document.getElementById('status').innerText === 'The server is not ready yet'"
            )
            await browser.choose_files(empty)
            await browser.wait_for(
                "document.getElementById('notices').textContent.includes('empty.wav is empty')"
            )
            await browser.choose_files(recording)
            await browser.wait_for(shows("All places on the server are taken."))
            assert "stays in the list" in await browser.text("takes")
            worker = await harness.worker(master, WORKER)
            await worker.read_json()  # it tries again by itself
            await worker.send({"status": 3, "message": "expected audio, found a picture", "id": "x"})
            await browser.wait_for(f"{PHASE} === 'failed'")
            text = await browser.text("takes")
            assert "ps-librivox-0880.wav cannot be read as audio (expected audio, found a picture)." in text
            assert "Open a recording or a video" in text
            assert await browser.text("activity") == "Ready"

    harness.run(scenario)


def test_transcripts_survive_a_reload_and_clear_can_be_undone(
    harness: Harness, recording: Path, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with harness.master() as master, open_browser(master.url, tmp_path) as browser:
            worker = await harness.worker(master, WORKER)
            await browser.choose_files(recording)
            await worker.read_json()
            await read_to_eos(worker)
            await worker.send(final([("one", 0.0, 0.5, 1.0), ("two", 0.5, 0.5, 0.4)], 0.0, 1.0))
            await worker.send(position(10**6, 9.0, is_end=True))
            await browser.wait_for(activity("Ready"))
            await browser.reload()
            await browser.wait_for(shows("one two"))
            assert await browser.evaluate(PHASE) == "kept"
            await browser.click("clear")
            assert "one two" not in await browser.text("takes")
            await browser.evaluate("document.querySelector('[data-key=undo] button').click()")
            assert "one two" in await browser.text("takes")
            await browser.reload()
            await browser.wait_for(shows("one two"))

            keeps = "document.querySelector('[data-setting=keepsTranscripts]')"
            await browser.click("settings-open")
            await browser.evaluate(f"{keeps}.click()")
            await browser.click("settings-close")
            assert await browser.evaluate("Object.keys(localStorage).length") == 1  # the settings
            assert await browser.evaluate("!dispatchEvent(new Event('beforeunload', { cancelable: true }))")
            await browser.click("clear")
            assert await browser.evaluate("dispatchEvent(new Event('beforeunload', { cancelable: true }))")
            await browser.reload()
            assert await browser.text("takes") == ""
            assert not await browser.evaluate(f"{keeps}.checked")

    harness.run(scenario)


def test_undo_brings_back_what_was_removed_last(harness: Harness, tmp_path: Path) -> None:
    clear = "document.getElementById('clear').click()"
    kept = {"kind": "file", "model": "", "language": "", "startedAt": 1, "unfinished": []}
    segment: dict[str, object] = {
        "channel": None,
        "startS": 0,
        "endS": 1,
        "text": "one",
        "words": [],
        "alternatives": [],
    }
    kept |= {"id": "a", "title": "first.wav", "segments": [segment]}
    drop = """(() => {
        const dataTransfer = new DataTransfer();
        dataTransfer.setData('text/plain', 'words');
        return dispatchEvent(new DragEvent('drop', { dataTransfer, cancelable: true }));
    })()"""

    async def scenario() -> None:
        async with harness.master() as master, open_browser(master.url, tmp_path) as browser:
            await browser.evaluate(
                f"localStorage.setItem('pykaldi-server/take/a', {json.dumps(json.dumps(kept))})"
            )
            await browser.reload()
            await browser.wait_for(shows("first.wav"))
            await browser.evaluate(clear)
            await browser.click("microphone")
            await browser.evaluate("document.querySelector('.take-actions button').click()")  # Cancel
            await browser.wait_for(f"{PHASE} === 'cancelled'")
            await browser.evaluate(clear)
            assert await browser.evaluate(drop), "text may be dropped where text belongs"
            await browser.evaluate("document.querySelector('[data-key=undo] button').click()")
            titles = "[...document.querySelectorAll('.take h2')].map((each) => each.innerText).join()"
            assert (await browser.evaluate(titles)).startswith("Recording, ")

    harness.run(scenario)


def test_the_page_asks_for_a_token(harness: Harness, recording: Path, tmp_path: Path) -> None:
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
            await browser.wait_for(
                "document.getElementById('status').innerText === 'The server is not ready yet'"
            )
            worker = await harness.worker(master, "token=worker-token-0123456789")
            await browser.choose_files(recording)
            assert "token" not in str(await worker.read_json())
            await worker.send(final([("one", 0.0, 0.5, 1.0)], 0.0, 1.0))
            worker.close()
            await browser.wait_for(shows("one"))

    harness.run(scenario)


def test_models_are_chosen_by_language_and_remembered(
    harness: Harness, recording: Path, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with (
            harness.master(default_model="english") as master,
            open_browser(master.url, tmp_path) as browser,
        ):
            await harness.worker(master, "model=digits&language=en")
            await harness.worker(master, "model=english&language=en")
            estonian = await harness.worker(master, "model=eesti&language=et")
            await browser.wait_for("document.getElementById('model-name').innerText === 'english'")
            await browser.wait_for("document.getElementById('language').options.length === 2")
            await browser.click("settings-open")
            options = "[...document.getElementById('model').options].map((each) => each.value)"
            assert await browser.evaluate(options) == ["digits", "english"]
            await browser.evaluate(
                "document.getElementById('language').value = 'et', "
                "document.getElementById('language').dispatchEvent(new Event('change'))"
            )
            assert await browser.evaluate(options) == ["eesti"]
            await browser.click("settings-close")
            assert await browser.text("model-name") == "eesti"
            await browser.reload()
            await browser.wait_for("document.getElementById('model-name').innerText === 'eesti'")
            await browser.choose_files(recording)
            await asyncio.wait_for(estonian.read_json(), 60)
            assert await browser.evaluate("document.querySelector('.words').lang") == "et"

    harness.run(scenario)
