"""Debian's Caddy in front of a master of a test, configured as docs/security.md says."""

import asyncio
import os
import re
import shutil
import socket
from asyncio.subprocess import create_subprocess_exec
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from nginx import DOCUMENT, PATIENCE_S, until_it_listens

SITE = "speech.example.com {"
AROUND = """
{{
    admin off
    auto_https off
}}
{site}
"""


def find_caddy() -> str:
    """The program; the test is skipped where there is none."""
    found = shutil.which("caddy")
    if found is None:
        pytest.skip("needs Caddy (Debian: apt-get install caddy)")
    return found


@asynccontextmanager
async def running_caddy(folder: Path, master: Any) -> AsyncIterator[str]:
    """Runs it, and yields its address, which ends in /speech.

    Args:
        folder: for its files.
        master: what it passes requests on to.
    """
    program = find_caddy()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (site,) = re.findall(r"```caddy\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert SITE in site
    assert "127.0.0.1:8888" in site
    site = site.replace(SITE, f"http://localhost:{port} {{\n    bind 127.0.0.1")
    site = site.replace("127.0.0.1:8888", f"127.0.0.1:{master.port}")
    configuration = folder / "Caddyfile"
    configuration.write_text(AROUND.format(site=site))
    process = await create_subprocess_exec(
        *(program, "run", "--config", str(configuration), "--adapter", "caddyfile"),
        env={**os.environ, "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "HOME": str(folder)},
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await until_it_listens(process, port)
        yield f"http://localhost:{port}/speech"
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await asyncio.wait_for(process.wait(), PATIENCE_S)
