"""What the manifests rely on, with the processes that they describe: probes, draining, shared states."""

import asyncio
import json
import signal
import wave
from pathlib import Path
from typing import Any

import pytest
from harness import Harness, Socket
from manifests import KUBERNETES, Container, Manifest, build
from pods import ADMINISTRATOR, Pod, connect, digits_model, master_pod, need_bubblewrap, speak, worker_pod
from postgresql import PostgresqlServer

TRANSCRIPT = "two nine three four zero"
BEGINNING = 24_000
"""Bytes of audio after which words have been shown."""


@pytest.fixture(scope="module", autouse=True)
def sandbox() -> None:
    need_bubblewrap()


@pytest.fixture(scope="module")
def production() -> Manifest:
    return build(KUBERNETES / "overlays" / "production")


@pytest.fixture(scope="module")
def master(production: Manifest) -> Container:
    return production.container("master")


@pytest.fixture(scope="module")
def worker(production: Manifest) -> Container:
    return production.container("worker-english")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Path:
    return digits_model(tmp_path_factory.mktemp("models"), models)


@pytest.fixture(scope="module")
def digits(golden: Path) -> bytes:
    """Samples of the sentence "two nine three four zero", S16LE at 16 kHz."""
    with wave.open(str(golden / "wav" / "ps-tidigits-2934z.wav")) as file:
        return bytes(file.readframes(file.getnframes()))


async def words(socket: Socket, digits: bytes) -> str:
    """What a client hears of the rest of its sentence."""
    await socket.send(digits[BEGINNING:])
    await socket.send("EOS")
    finals = [each["result"] for each in await socket.read_all() if each.get("result", {}).get("final")]
    return " ".join(each["hypotheses"][0]["transcript"] for each in finals)


async def have_slots(harness: Harness, *expected: tuple[Pod, int]) -> None:
    """Returns when each master has as many free slots as that."""
    for pod, number in expected:
        status = await connect(harness, pod, "/client/ws/status")
        await status.until(lambda each, wanted=number: each["num_workers_available"] == wanted)  # type: ignore[misc]
        status.close()


def test_pods_are_ready_when_they_can_serve_and_drain_before_they_end(
    harness: Harness, master: Container, worker: Container, model: Path, digits: bytes, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with master_pod(master, tmp_path / "master") as serving:
            assert await serving.probe("startup") == await serving.probe("liveness") == 200
            assert await serving.probe("readiness") == 503  # nobody there to recognise
            async with worker_pod(worker, tmp_path / "worker", model, serving, sessions=2) as working:
                assert await working.probe("startup") == await working.probe("liveness") == 200
                await working.becomes("readiness", 200)
                await serving.becomes("readiness", 200)
                await have_slots(harness, (serving, 2))

                speaker = await speak(harness, serving, digits[:BEGINNING])
                working.signal(signal.SIGTERM)
                await working.becomes("readiness", 503)
                assert await working.probe("liveness") == 200
                await have_slots(harness, (serving, 0))
                assert await words(speaker, digits) == TRANSCRIPT
                assert await working.exit_code() == 0
            await serving.becomes("readiness", 503)

            async with worker_pod(worker, tmp_path / "next", model, serving, sessions=2) as working:
                await serving.becomes("readiness", 200)
                speaker = await speak(harness, serving, digits[:BEGINNING])
                serving.signal(signal.SIGTERM)
                await serving.becomes("readiness", 503)
                assert await serving.probe("liveness") == 200
                late = await connect(harness, serving)
                refusal = await late.read_json()
                assert (refusal["status"], "shutting down" in refusal["message"]) == (9, True)
                assert await words(speaker, digits) == TRANSCRIPT
                assert await serving.exit_code() == 0

                await working.becomes("readiness", 503)  # no master
                working.signal(signal.SIGTERM)
                assert await working.exit_code() == 0

    harness.run(scenario)


def test_masters_share_states_and_neither_a_master_nor_a_worker_is_missed(
    harness: Harness,
    master: Container,
    worker: Container,
    model: Path,
    digits: bytes,
    tmp_path: Path,
    postgresql: PostgresqlServer,
) -> None:
    sockets = Path(postgresql.url.partition("host=")[2])
    sockets.chmod(0o711)  # the user of the pod is none of this machine
    service = f"[pykaldi-server]\nhost={sockets}\ndbname=postgres\nuser=tester\n"
    anna = {"user-id": "anna", "adaptation": "keep"}

    async def state(pod: Pod) -> Any:
        answer = await pod.fetch("/states/english/anna", ADMINISTRATOR)
        return json.loads(answer.body)["adaptation_state"] if answer.code == 200 else None

    async def scenario() -> None:
        async with (
            master_pod(master, tmp_path / "first", service, sockets) as first,
            master_pod(master, tmp_path / "second", service, sockets) as second,
            worker_pod(worker, tmp_path / "worker", model, first, second, sessions=4) as working,
        ):
            await have_slots(harness, (first, 2), (second, 2))
            assert await words(await speak(harness, first, digits[:BEGINNING], **anna), digits) == TRANSCRIPT
            while (learned := await state(second)) is None:
                await asyncio.sleep(0.02)
            assert learned == await state(first)
            # The second session begins where the first has ended, so it ends elsewhere than that.
            assert await words(await speak(harness, second, digits[:BEGINNING], **anna), digits) == TRANSCRIPT
            while await state(first) == learned:
                await asyncio.sleep(0.02)

            speaker = await speak(harness, first, digits[:BEGINNING])
            first.signal(signal.SIGKILL)
            assert all(each["status"] == 0 for each in await speaker.read_all())
            assert speaker.connection.close_code is None  # so the client knows that something is missing
            await have_slots(harness, (second, 4))

            speaker = await speak(harness, second, digits[:BEGINNING])
            working.signal(signal.SIGKILL)
            assert (await speaker.read_all())[-1]["message"].startswith("The recogniser was lost")
            await second.becomes("readiness", 503)

    try:
        harness.run(scenario)
    finally:
        postgresql.clear()
