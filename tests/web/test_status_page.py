"""The status page in a real browser."""

from pathlib import Path

from browser import open_browser
from harness import Harness
from web_events import WORKER

CHART = "[...document.querySelectorAll('.chart')].find((each) => each.innerText.startsWith({name!r}))"


def test_the_status_page_shows_every_number_and_curves(harness: Harness, tmp_path: Path) -> None:
    speech, delay, in_use = (
        CHART.format(name=name) for name in ("Speech per second", "Delay of live words", "In use")
    )

    async def scenario() -> None:
        async with (
            harness.master(default_model="english") as master,
            open_browser(master.url + "/status", tmp_path) as browser,
        ):
            await browser.wait_for("document.getElementById('summary').dataset.state === 'busy'")
            worker = await harness.worker(master, WORKER)
            await browser.wait_for("document.getElementById('summary').dataset.state === 'free'")
            assert "Free places 1" in " ".join((await browser.text("numbers")).split())
            rows = " ".join((await browser.text("model-rows")).split())
            assert rows == "english (unless another is asked for) English 1 0"
            status = await browser.evaluate("document.getElementById('status').textContent")
            assert '"num_workers_available": 1' in status  # also while it is folded

            await harness.client(master)
            await worker.read_json()
            await worker.send(
                {"position": {"bytes": 0, "seconds": 90.0, "end": False, "partials": [0.25, 0.25]}}
            )
            await browser.wait_for(f"parseFloat({speech}.querySelector('strong').innerText) > 1")
            await browser.wait_for(f"parseFloat({delay}.querySelector('strong').innerText) >= 0.25")
            assert "1" in await browser.evaluate(f"{in_use}.querySelector('strong').innerText")
            label = await browser.evaluate(f"{in_use}.querySelector('svg').getAttribute('aria-label')")
            assert label == "In use: now 1, highest in 5 minutes: 1, of 1"
            await browser.wait_for(
                f"{speech}.querySelector('.line').getAttribute('d').length > 20"
            )  # two points

    harness.run(scenario)
