"""The status page in a real browser."""

from pathlib import Path
from typing import Any

from browser import open_browser


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
