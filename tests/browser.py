"""A real browser for tests of the page, driven over its DevTools protocol.

The browser is Debian's chromium (`apt install chromium`); its microphone plays a recording. Where it is
missing, its tests are skipped.
"""

import asyncio
import base64
import json
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient
from tornado.websocket import WebSocketClientConnection, websocket_connect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

# Whatever goes wrong unseen in a script of the page fails the test, as does a script that is not there.
WATCH_ERRORS = """
window.testErrors = [];
const note = ({ message, target }) => testErrors.push(message ?? `${target.outerHTML} failed`);
addEventListener("error", note, true);
addEventListener("unhandledrejection", ({ reason }) => testErrors.push(String(reason?.stack ?? reason)));
"""
SHOWN_WITHIN_S = 10
SHOWN = "JSON.stringify([location.href, document.readyState, testErrors, document.body?.innerText])"


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
            answer = json.loads(await self._read())
            if answer.get("id") == self._last_id:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    async def _read(self) -> str:
        message = await self._connection.read_message()
        assert isinstance(message, str), "the browser has gone"
        return message

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
        """Returns when a JavaScript condition has become true; it is checked at every frame.

        Fails when something goes wrong on the page meanwhile.
        """
        await self.evaluate(
            "new Promise((done, fail) => { const check = () => { "
            "if (window.testErrors?.length) fail(testErrors.join()); "
            f"else if ({condition}) done(true); else requestAnimationFrame(check); }}; check(); }})"
        )

    async def click(self, element: str) -> None:
        await self.evaluate(f"document.getElementById('{element}').click()")

    async def text(self, element: str) -> str:
        """The visible text of an element, that which the browser has not drawn yet included."""
        text: str = await self.evaluate(
            f"(() => {{ const element = document.getElementById('{element}'); "
            "const lazy = [...element.querySelectorAll('.words p')]; "
            "for (const each of lazy) each.style.contentVisibility = 'visible'; "
            "const text = element.innerText; "
            "for (const each of lazy) each.style.contentVisibility = ''; return text })()"
        )
        return text

    async def press(self, key: str, text: str = "") -> None:
        """Presses a key and lets it go; `text` is what it writes."""
        for kind in ("keyDown", "keyUp"):
            more = {"text": text} if text and kind == "keyDown" else {}
            await self.command("Input.dispatchKeyEvent", type=kind, key=key, code=key, **more)

    async def choose_files(self, *paths: Path) -> None:
        document = await self.command("DOM.getDocument")
        node = await self.command("DOM.querySelector", nodeId=document["root"]["nodeId"], selector="#file")
        await self.command(
            "DOM.setFileInputFiles", nodeId=node["nodeId"], files=[str(path) for path in paths]
        )

    async def deny_microphone(self) -> None:
        permission = {"name": "microphone"}
        await self.command("Browser.setPermission", permission=permission, setting="denied")

    async def look(
        self, *, dark: bool = False, width: int = 900, height: int = 800, phone: bool = False
    ) -> None:
        """Chooses the colour scheme and the size of the screen."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.command("Emulation.setEmulatedMedia", features=[scheme])
        await self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )
        await self.command("Emulation.setTouchEmulationEnabled", enabled=phone)

    async def reload(self) -> None:
        """Loads the page again; it may not ask back."""
        assert await self.evaluate("window.testErrors") == []
        await self.command("Page.reload")
        while json.loads(await self._read()).get("method") != "Page.loadEventFired":
            pass

    async def screenshot(self, path: Path) -> None:
        picture = await self.command("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(picture["data"]))


@asynccontextmanager
async def open_browser(
    url: str, directory: Path, microphone: Path | None = None, *, grants: bool = True
) -> AsyncIterator[Browser]:
    """Opens a page in a new browser.

    Args:
        url: address of the page.
        directory: for the browser's own files.
        microphone: a WAV file that the microphone plays, again and again.
        grants: pages may use the microphone without asking.
    """
    if CHROMIUM is None:
        pytest.skip("needs chromium (apt install chromium)")
    profile = directory / "profile"
    arguments = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        *(["--use-fake-ui-for-media-stream"] if grants else []),
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
    connection, drain = None, None
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
        await browser.command("Page.enable")
        await browser.command("Page.addScriptToEvaluateOnNewDocument", source=WATCH_ERRORS)
        if not grants:
            await browser.deny_microphone()
        await browser.command("Page.navigate", url=url)
        await browser.wait_for("location.protocol !== 'about:' && document.readyState === 'complete'")
        try:
            yield browser
        except BaseException:
            print("the page:", await asyncio.wait_for(browser.evaluate(SHOWN), SHOWN_WITHIN_S))
            raise
        assert await browser.evaluate("window.testErrors") == []
    finally:
        if connection is not None:
            connection.close()
        if drain is not None:
            drain.cancel()
        if process.returncode is None:
            process.kill()
        await process.wait()
        shutil.rmtree(profile, ignore_errors=True)
