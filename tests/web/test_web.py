"""The files of the page: how they are served, and that they need no others."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

WEB = Path(__file__).resolve().parent.parent.parent / "pykaldi_server" / "web"


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
                if path.suffix == ".js":
                    assert len(path.read_text().splitlines()) < 200, path.name
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


def test_imports_of_the_scripts_exist() -> None:
    for path in WEB.glob("*.js"):
        for name in re.findall(r'from "\./([^"]+)"', path.read_text()):
            assert (WEB / name).is_file()
