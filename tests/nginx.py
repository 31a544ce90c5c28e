"""Debian's nginx in front of a master of a test, configured as docs/security.md says."""

import asyncio
import os
import re
import shutil
import socket
from asyncio.subprocess import Process, create_subprocess_exec
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "security.md"
PATIENCE_S = 200
AROUND = """
{user}
daemon off;
pid {folder}/pid;
error_log stderr warn;
events {{}}
http {{
    access_log off;
    {temporary}
    types {{ text/html html; }}
    {server}
}}
"""


def find_nginx() -> str:
    """The program; the test is skipped where there is none."""
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip("needs nginx (Debian: apt-get install nginx-light)")
    return found


def documented_server() -> str:
    """The configuration in the documentation."""
    (block,) = re.findall(r"```nginx\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    return str(block)


@asynccontextmanager
async def running_nginx(folder: Path, master: Any, *, keeps_path: bool = False) -> AsyncIterator[str]:
    """Runs it, and yields its address, which ends in /speech.

    Args:
        folder: for its files.
        master: what it passes requests on to.
        keeps_path: pass paths on unchanged.
    """
    program = find_nginx()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    target = f"127.0.0.1:{master.port}"
    server = documented_server().replace("listen 80;", f"listen 127.0.0.1:{port};")
    server = server.replace("127.0.0.1:8888/;", f"{target};" if keeps_path else f"{target}/;")
    assert target in server
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    user = "user root;" if os.geteuid() == 0 else ""
    configuration = folder / "nginx.conf"
    configuration.write_text(AROUND.format(user=user, folder=folder, temporary=temporary, server=server))
    process = await create_subprocess_exec(program, "-p", str(folder), "-c", str(configuration))
    try:
        await until_it_listens(process, port)
        yield f"http://localhost:{port}/speech"
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await asyncio.wait_for(process.wait(), PATIENCE_S)


async def until_it_listens(process: Process, port: int) -> None:
    """Waits for a proxy."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            assert process.returncode is None, "the proxy has ended; see what it has printed"
            with suppress(ConnectionRefusedError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                await writer.wait_closed()
                return
            await asyncio.sleep(0.02)
