"""A master behind Debian's nginx and Caddy, and what is believed of headers that anybody can write."""

import asyncio
import json
import logging
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from caddy import running_caddy
from nginx import running_nginx
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest

SPEAKER = "127.0.0.5"  # another address of this machine, so that it differs from that of the proxy
FINAL = {"status": 0, "segment": 0, "result": {"hypotheses": [{"transcript": "one"}], "final": True}}


async def fetch(url: str, **arguments: Any) -> Any:
    return await AsyncHTTPClient().fetch(url, raise_error=False, follow_redirects=False, **arguments)


async def serve_one(worker: Any) -> dict[str, Any]:
    """What a worker does that hears one word; returns the request."""
    request: dict[str, Any] = await worker.read_json()
    while await worker.read() != "EOS":
        continue
    await worker.send(FINAL)
    worker.close()
    return request


def running_proxy(kind: str, folder: Path, master: Any) -> AbstractAsyncContextManager[str]:
    """A proxy as docs/security.md has it, or one that passes paths on unchanged."""
    if kind == "caddy":
        return running_caddy(folder, master)
    return running_nginx(folder, master, keeps_path=kind == "nginx keeping paths")


@pytest.mark.parametrize("kind", ["nginx", "nginx keeping paths", "caddy"])
def test_everything_works_behind_a_proxy(
    harness: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    prefix = "/speech" if kind == "nginx keeping paths" else ""
    options = {"proxies": ("127.0.0.1",), "path_prefix": prefix, "private": ("metrics",)}

    async def scenario() -> None:
        async with (
            harness.master(**options) as master,
            running_proxy(kind, tmp_path, master) as url,
        ):
            # The page and what it loads, by the addresses that are in it
            assert urlsplit((await fetch(url)).headers["Location"]).path == "/speech/"
            page = await fetch(f"{url}/")
            script = urljoin(f"{url}/", "client/static/app.js")
            assert b"client/static/app.js" in page.body
            assert (await fetch(script)).code == 200
            assert (await fetch(f"{url}/client/static/status.html")).code == 200

            # A worker and a page, with spoofed addresses
            address = url.replace("http", "ws", 1)
            worker = await harness.connect(f"{address}/worker/ws/speech")
            spoofed = {"X-Forwarded-For": "192.0.2.1", "X-Real-Ip": "192.0.2.2", "Forwarded": "for=192.0.2.3"}
            own = url.removesuffix("/speech")
            speech = f"{address}/client/ws/speech"
            page_socket = await harness.connect(
                HTTPRequest(speech, headers={"Origin": own, **spoofed}, network_interface=SPEAKER)
            )
            serving = asyncio.create_task(serve_one(worker))
            await page_socket.send(bytes(100_000))
            await page_socket.send("EOS")
            request = await serving
            assert [each["status"] for each in await page_socket.read_all()] == [0]
            assert f"{request['id']}: opened by {SPEAKER}, " in caplog.text

            for origin in ("http://localhost", "http://evil.example", own.replace("http", "https")):
                for host in ("evil.example", "localhost"):
                    headers = {"Origin": origin, "X-Forwarded-Host": host}
                    with pytest.raises(HTTPClientError, match="403"):
                        await harness.connect(HTTPRequest(speech, headers=headers))

            # An upload that is larger than what nginx would keep in memory
            worker = await harness.connect(f"{address}/worker/ws/speech")
            serving = asyncio.create_task(serve_one(worker))
            answer = await fetch(
                f"{url}/client/dynamic/recognize",
                method="PUT",
                body=bytes(3_000_000),
                headers={"Origin": own, **spoofed},
                network_interface=SPEAKER,
            )
            assert json.loads(answer.body)["hypotheses"] == [{"utterance": "one"}]
            assert f"{(await serving)['id']}: upload by {SPEAKER}, " in caplog.text

            # What is for programs of this machine is not for those of the proxy
            assert (await fetch(f"{url}/metrics")).code == 403
            assert "192.0.2" not in caplog.text

    with caplog.at_level(logging.INFO):
        harness.run(scenario)


def test_without_being_told_headers_of_proxies_are_ignored(
    harness: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with harness.master() as master, running_nginx(tmp_path, master) as url:
            address = f"{url.replace('http', 'ws', 1)}/client/ws/speech"
            await harness.connect(HTTPRequest(address, network_interface=SPEAKER))
            assert ": opened by 127.0.0.1, " in caplog.text
            with pytest.raises(HTTPClientError, match="403"):  # the page's own origin is not known
                await harness.connect(HTTPRequest(address, headers={"Origin": url.removesuffix("/speech")}))

    with caplog.at_level(logging.INFO):
        harness.run(scenario)
    assert SPEAKER not in caplog.text


@pytest.mark.parametrize(
    ("proxies", "headers", "client"),
    [
        ((), {"X-Forwarded-For": "192.0.2.1"}, "127.0.0.1"),
        (("10.0.0.0/8",), {"X-Forwarded-For": "192.0.2.1"}, "127.0.0.1"),
        (("127.0.0.0/8",), {"X-Forwarded-For": "192.0.2.1"}, "192.0.2.1"),
        (("127.0.0.1",), {"X-Forwarded-For": "192.0.2.9, 192.0.2.1"}, "192.0.2.1"),
        (("127.0.0.1", "10.0.0.0/8"), {"X-Forwarded-For": "192.0.2.1, 10.1.2.3"}, "192.0.2.1"),
        (("127.0.0.1",), {"X-Forwarded-For": "192.0.2.1:4711"}, "192.0.2.1"),
        (("127.0.0.1",), {"X-Forwarded-For": "[2001:db8::1]:4711"}, "2001:db8::1"),
        (("127.0.0.1",), {"X-Forwarded-For": "192.0.2.1, <script>"}, "127.0.0.1"),
        (("127.0.0.1",), {"X-Real-Ip": "192.0.2.1"}, "127.0.0.1"),
        (("127.0.0.1",), {}, "127.0.0.1"),
    ],
)
def test_whose_address_is_in_the_log(
    harness: Any,
    caplog: pytest.LogCaptureFixture,
    proxies: tuple[str, ...],
    headers: dict[str, str],
    client: str,
) -> None:
    async def scenario() -> None:
        async with harness.master(proxies=proxies) as master:
            url = f"{master.url.replace('http', 'ws')}/client/ws/speech"
            socket = await harness.connect(HTTPRequest(url, headers=headers))
            await socket.send("EOS")
            while f": opened by {client}, " not in caplog.text:
                await asyncio.sleep(0.01)

    with caplog.at_level(logging.INFO):
        harness.run(scenario)


@pytest.mark.parametrize(
    ("headers", "is_own"),
    [
        ({"X-Forwarded-Proto": "https", "X-Forwarded-Host": "speech.example"}, True),
        ({"X-Forwarded-Proto": "https", "X-Forwarded-Host": "speech.example:443"}, True),
        ({"X-Forwarded-Proto": "https", "X-Forwarded-Host": "other.example, speech.example"}, True),
        ({"X-Forwarded-Proto": "http", "X-Forwarded-Host": "speech.example"}, False),
        ({"X-Forwarded-Proto": "https", "X-Forwarded-Host": "other.example"}, False),
        ({"X-Forwarded-Proto": "https", "Host": "speech.example"}, True),
    ],
)
@pytest.mark.parametrize("is_told", [True, False])
def test_what_the_own_origin_is_behind_a_proxy(
    harness: Any, headers: dict[str, str], is_own: bool, is_told: bool
) -> None:
    async def scenario() -> None:
        async with harness.master(proxies=("127.0.0.1",) if is_told else ()) as master:
            page = {"Origin": "https://speech.example", **headers}
            answer = await harness.fetch(master, "/v1/models", headers=page)
            assert answer.code == (200 if is_own and is_told else 403)

    harness.run(scenario)
