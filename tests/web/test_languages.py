"""The page with two languages, real models, and a real browser."""

from pathlib import Path
from typing import Any

from browser import open_browser
from harness import until
from live_worker import running_worker
from web_events import shows

from pykaldi_server.session import Model

OPTIONS = "[...document.getElementById('{}').options].map((each) => each.text)"


def test_estonian_is_chosen_and_recognised(harness: Any, golden: Path, tmp_path: Path) -> None:
    english, estonian = Model.load("english:graph-digits"), Model.load("et")

    async def scenario() -> None:
        async with (
            harness.master(default_model=english.name) as master,
            running_worker(english, master),
            running_worker(estonian, master),
        ):
            await until(lambda: len(master.hub.models) == 2)
            async with open_browser(master.url, tmp_path) as browser:
                await browser.wait_for("document.getElementById('model-name').innerText === 'english-digits'")
                await browser.wait_for("document.getElementById('language').options.length === 2")
                await browser.click("settings-open")
                assert await browser.evaluate(OPTIONS.format("language")) == ["English", "Estonian"]
                assert await browser.evaluate(OPTIONS.format("model")) == ["english-digits"]
                await browser.evaluate(
                    "document.getElementById('language').value = 'et', "
                    "document.getElementById('language').dispatchEvent(new Event('change'))"
                )
                assert await browser.evaluate(OPTIONS.format("model")) == ["estonian"]
                await browser.click("settings-close")
                await browser.choose_files(golden / "estonian" / "robot-1.wav")
                await browser.wait_for(shows("mine kolm meetrit edasi"))
                assert await browser.evaluate("document.querySelector('.words').lang") == "et"
                await browser.choose_files(golden / "estonian" / "digits-1-8.wav")
                await browser.wait_for(shows("seitse kaheksa"))

    harness.run(scenario)
