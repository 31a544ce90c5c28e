"""The YAML files in models/samples: each is understood as a whole, and recognises what it says it does."""

import json
import logging
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from harness import Harness
from live_worker import read_log, worker_process

from pykaldi_server.cli import main
from pykaldi_server.kaldi.gmm import AmDiagGmm
from pykaldi_server.kaldi.hmm import TransitionModel
from pykaldi_server.kaldi.nnet2 import AmNnet
from pykaldi_server.kaldi.util.io import KaldiReader
from pykaldi_server.master.server import Master
from pykaldi_server.session import Model
from pykaldi_server.worker.settings import WorkerSettings

REPOSITORY = Path(__file__).resolve().parent.parent
SAMPLES = REPOSITORY / "models" / "samples"
DIGITS = "two nine three four zero\n"
WORDS = {
    "chain": DIGITS,
    "gmm": DIGITS,
    "nnet2": DIGITS,
    "nnet3": "üks kaks kolm neli\nviis kuus seitse kaheksa\n",
    "post-processing": "29340\n",
    "rescoring": "he was not an ill disposed young man\n",
}
"""What each sample makes of the recording that it names."""


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)


def test_every_sample_is_tested_and_listed() -> None:
    assert {path.stem for path in SAMPLES.glob("*.yaml")} == WORDS.keys()
    readme = (SAMPLES / "README.md").read_text(encoding="utf-8")
    assert [name for name in WORDS if f"]({name}.yaml)" not in readme] == []


@pytest.mark.parametrize("name", sorted(WORDS))
def test_the_command_in_a_sample_recognises(name: str) -> None:
    """As the comment at its top says."""
    text = (SAMPLES / f"{name}.yaml").read_text(encoding="utf-8")
    (command,) = re.findall(r"^#  +pykaldi-server (transcribe .*)$", text, re.MULTILINE)
    ran = CliRunner().invoke(main, shlex.split(command))
    assert (ran.exit_code, ran.stdout) == (0, WORDS[name])


@pytest.mark.parametrize("name", sorted(WORDS))
def test_a_sample_is_understood_as_a_whole(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """No key is unknown, without effect, or warned of, as a worker reads the file."""
    caplog.set_level(logging.WARNING)
    settings = WorkerSettings.read(str(SAMPLES / f"{name}.yaml"))
    Model.load(settings.model)
    assert caplog.messages == []


def test_workers_of_samples(harness: Harness, golden: Path) -> None:
    """They do what the files say of them: one has a log of its own, the other a post-processor."""
    audio = (golden / "wav" / "ps-tidigits-2934z.wav").read_bytes()
    chain, processing = (SAMPLES / f"{name}.yaml" for name in ("chain", "post-processing"))

    async def words(master: Master, name: str) -> list[dict[str, str]]:
        path = f"/client/dynamic/recognize?model={name}"
        response = await harness.fetch(master, path, method="PUT", body=audio)
        found: list[dict[str, str]] = json.loads(response.body)["hypotheses"]
        return found

    async def scenario() -> None:
        async with (
            harness.master() as master,
            worker_process(master, chain, "--sessions", "1") as logging_worker,
            worker_process(master, processing, "--sessions", "1") as processing_worker,
        ):
            await master.until(lambda: master.hub.pool.status().available == 2)
            assert DIGITS.strip() in [each["utterance"] for each in await words(master, "chain")]
            assert await words(master, "post-processing") == [{"utterance": "29340"}]
            for worker in (logging_worker, processing_worker):
                worker.terminate()
            log = await read_log(logging_worker)
            assert re.search(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ +INFO \S+ .*: done$", log, re.MULTILINE)
            assert "post-processor" in await read_log(processing_worker)

    harness.run(scenario)


def test_the_network_of_gaussians_can_be_made_again(models: Path, tmp_path: Path) -> None:
    made = tmp_path / "final.mdl"
    gmm = models / "english-gmm"
    files = [str(gmm / "final.oalimdl"), str(gmm / "final.mat")]
    subprocess.run([sys.executable, "scripts/gmm_to_nnet2.py", *files, "3", "3", str(made)], check=True)
    again, kept = read_network(made), read_network(SAMPLES / "nnet2" / "final.mdl")
    frames = np.random.default_rng(1).normal(size=(50, 13)).astype(np.float32) * 20
    np.testing.assert_allclose(again.nnet.compute(frames), kept.nnet.compute(frames), rtol=1e-3, atol=1e-12)


def test_the_network_of_gaussians_has_their_likelihoods(models: Path) -> None:
    """Up to one number per frame, and above the floor of nnet2's softmax."""
    reader = KaldiReader.open(models / "english-gmm" / "final.oalimdl")
    TransitionModel.read(reader)
    gmm = AmDiagGmm.read(reader)
    lda = KaldiReader.open(models / "english-gmm" / "final.mat").read_matrix().astype(np.float32)
    network = read_network(SAMPLES / "nnet2" / "final.mdl")
    features = np.random.default_rng(2).normal(size=(100, 13)).astype(np.float32) * 10
    found = np.log(network.nnet.compute(features, pad_input=False)) - np.log(network.priors)
    spliced = np.concatenate([features[shift : len(features) - 6 + shift] for shift in range(7)], axis=1)
    expected = gmm.log_likelihoods(spliced @ lda[:, : spliced.shape[1]].T + lda[:, spliced.shape[1] :].sum(1))
    likely = expected > expected.max(axis=1, keepdims=True) - 30
    difference = np.where(likely, found - expected, np.nan)
    assert likely.sum() > 2 * len(found)
    assert np.nanmax(difference, axis=1) - np.nanmin(difference, axis=1) == pytest.approx(0, abs=2e-3)


def read_network(path: Path) -> AmNnet:
    reader = KaldiReader.open(path)
    TransitionModel.read(reader)
    return AmNnet.read(reader)
