"""Sessions on an nnet2 network: every frame once, with the scores that the network gives.

The network is random, so the graph is one state that allows every transition-id at no cost: the best path
then takes the best transition-id of each frame, and its cost is known from the network alone.
"""

from pathlib import Path

import numpy as np
import pytest
from golden_data import read_wav
from numpy.typing import NDArray

from pykaldi_server.kaldi.nnet2 import DecodableNnet2Online
from pykaldi_server.kaldi.online2 import OnlineNnetFeaturePipeline
from pykaldi_server.session import Final, Model
from pykaldi_server.session.acoustics.nnet2 import Nnet2Acoustics


@pytest.fixture(scope="module")
def online_directory(
    nnet2_config: Path, golden: Path, models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The same model as Kaldi's scripts for nnet2 lay it out."""
    folder = tmp_path_factory.mktemp("online")
    for name, target in {
        "final.mdl": golden / "networks" / "nnet2-pnorm.mdl",
        "graph/HCLG.fst": nnet2_config.parent / "HCLG.fst",
        "graph/words.txt": nnet2_config.parent / "words.txt",
        "conf/mfcc.conf": models / "english" / "conf" / "mfcc.conf",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(target)
    (folder / "conf" / "online_nnet2_decoding.conf").write_text(
        "--feature-type=mfcc\n--mfcc-config=/elsewhere/conf/mfcc.conf\n--beam=20.0\n--lattice-beam=0.01\n"
    )
    return folder


@pytest.fixture(scope="module")
def samples(golden: Path) -> NDArray[np.float32]:
    return read_wav(golden / "wav" / "ps-cards-001.wav")[1]


def best_costs(acoustics: Nnet2Acoustics, samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """The least acoustic cost of each frame, from the network alone."""
    pipeline = OnlineNnetFeaturePipeline(acoustics.features)
    pipeline.accept_waveform(acoustics.sample_rate_hz, samples)
    pipeline.input_finished()
    decodable = acoustics.decodable(pipeline)
    assert isinstance(decodable, DecodableNnet2Online)
    costs: NDArray[np.float32] = -decodable.advance().max(axis=1)
    return costs


def test_scores_are_the_networks(nnet2_config: Path, samples: NDArray[np.float32]) -> None:
    model = Model.load(nnet2_config)
    assert isinstance(model.acoustics, Nnet2Acoustics)
    costs = best_costs(model.acoustics, samples)
    session = model.session()
    events = session.accept(samples[:5000]) + session.accept(samples[5000:]) + session.finish()
    (final,) = [event for event in events if isinstance(event, Final)]
    assert final.hypotheses[0].likelihood == pytest.approx(-costs.sum(), rel=1e-4)
    assert len(final.hypotheses[0].transcript.split()) == len(costs)
    assert final.length_s == pytest.approx(0.01 * len(costs))


def test_every_frame_is_in_exactly_one_segment(nnet2_config: Path, samples: NDArray[np.float32]) -> None:
    model = Model.load(nnet2_config, max_segment_length_in_secs=0.3)
    session = model.session()
    events = session.accept(samples) + session.finish()
    finals = [event for event in events if isinstance(event, Final)]
    frames = [len(final.hypotheses[0].transcript.split()) for final in finals]
    assert len(finals) > 2
    assert sum(frames) == (len(samples) - 400) // 160 + 1
    starts = [round(final.start_s / 0.01) for final in finals]
    assert starts == np.cumsum([0, *frames[:-1]]).tolist()


def test_kaldis_nnet2_directory(
    nnet2_config: Path, online_directory: Path, samples: NDArray[np.float32]
) -> None:
    def words(path: Path) -> list[str]:
        session = Model.load(path).session()
        events = session.accept(samples) + session.finish()
        return [event.hypotheses[0].transcript for event in events if isinstance(event, Final)]

    assert words(online_directory) == words(nnet2_config) != []
