"""Tokens in mounted secrets, which change while programs run: the file is a link that is replaced."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from live_worker import serving

from pykaldi_server.master import server
from pykaldi_server.session import Model
from pykaldi_server.worker.options import WorkerOptions
from pykaldi_server.worker.worker import Worker

CLIENT, WORKER = "client-token-0123456789", "worker-token-0123456789"
NEW_CLIENT, NEW_WORKER = "new-client-token-0123456789", "new-worker-token-0123456789"


class MountedSecret:
    """A folder with one file, changed as the kubelet does it.

    Args:
        folder: where it is mounted.
        name: of the file.
    """

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir()
        self._folder = folder
        self._name = name
        self._num_versions = 0
        self.file = folder / name

    def put(self, content: str) -> None:
        """Replaces the content at one stroke: a link to a new folder takes the place of the old one."""
        self._num_versions += 1
        version = self._folder / f"..version-{self._num_versions}"
        version.mkdir()
        (version / self._name).write_text(content)
        (version / self._name).chmod(0o440)
        link = self._folder / "..data_tmp"
        link.symlink_to(version.name)
        os.replace(link, self._folder / "..data")
        if self._num_versions == 1:
            self.file.symlink_to(Path("..data") / self._name)


def tokens(*workers: str, client: str) -> str:
    lines = "".join(f"  w{number}: {each}\n" for number, each in enumerate(workers))
    return f"clients:\n  anna: {client}\nworkers:\n{lines}"


@pytest.fixture
def masters_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MountedSecret:
    monkeypatch.setattr(server, "REREAD_S", 0.05)
    secret = MountedSecret(tmp_path / "tokens", "tokens.yaml")
    secret.put(tokens(WORKER, client=CLIENT))
    return secret


def test_masters_and_workers_get_new_tokens_without_a_restart(
    harness: Any, models: Path, masters_tokens: MountedSecret, tmp_path: Path
) -> None:
    workers_token = MountedSecret(tmp_path / "token", "token")
    workers_token.put(f"{WORKER}\n")
    model = Model.load(models / "english:graph-digits")

    async def scenario() -> None:
        async with harness.master(tokens=masters_tokens.file) as master:
            options = WorkerOptions(
                url=(master.worker_url,), sessions=1, token_file=workers_token.file, reconnect_max_s=0.1
            )

            async def is_let_in(token: str) -> bool:
                headers = {"Authorization": f"Bearer {token}"}
                return bool((await harness.fetch(master, "/v1/models", headers=headers)).code == 200)

            async with serving(Worker(model, options)):
                await master.until(lambda: master.hub.pool.status().available == 1)
                masters_tokens.put(tokens(NEW_WORKER, client=NEW_CLIENT))
                while not await is_let_in(NEW_CLIENT):
                    pass
                assert not await is_let_in(CLIENT)
                (socket,) = (each for each in master.hub.sockets if each.kind == "worker")
                socket.close()  # whoever was let in stays; the next time it shows the old token
                await master.until(lambda: master.hub.pool.status().available == 0)
                workers_token.put(NEW_WORKER)
                await master.until(lambda: master.hub.pool.status().available == 1)

    harness.run(scenario)


def test_tokens_that_cannot_be_used_change_nothing_and_are_named_once(
    harness: Any, masters_tokens: MountedSecret, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with harness.master(tokens=masters_tokens.file) as master:
            masters_tokens.put("clients:\n  anna: short\n")
            master.hub.access.reread_tokens()
            master.hub.access.reread_tokens()
            master.hub.access.reread_tokens()
            (complaint,) = (each for each in caplog.messages if "tokens.yaml" in each)
            assert complaint.startswith("the tokens stay as they were: tokens: ")
            assert "line 2: clients.anna: expected a token of at least 16 characters" in complaint
            headers = {"Authorization": f"Bearer {CLIENT}"}
            assert (await harness.fetch(master, "/v1/models", headers=headers)).code == 200

            masters_tokens.put(tokens(WORKER, client=NEW_CLIENT))
            master.hub.access.reread_tokens()
            assert (await harness.fetch(master, "/v1/models", headers=headers)).code == 401

    harness.run(scenario)


def test_tokens_that_come_with_new_settings_are_read_again_as_well(
    harness: Any, masters_tokens: MountedSecret
) -> None:
    """The master has begun without tokens: nothing was there to be looked at again."""

    async def scenario() -> None:
        async with harness.master() as master:
            master.reload(replace(master.hub.options, tokens=masters_tokens.file))
            masters_tokens.put(tokens(WORKER, client=NEW_CLIENT))
            headers = {"Authorization": f"Bearer {NEW_CLIENT}"}
            while (await harness.fetch(master, "/v1/models", headers=headers)).code != 200:
                pass

    harness.run(scenario)
